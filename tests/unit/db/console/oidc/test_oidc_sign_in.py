"""Signing in at a company's OpenID provider: roles by groups, and nobody else's sign-in."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from sqlalchemy import select

from db.access import identities, people, sign_ins
from db.access.identities import KnownIdentity
from db.commands.console import check_ways_in
from db.console.oidc import tokens
from db.console.oidc.flow import SignInFlow
from db.console.oidc.provider import Provider, ProviderError
from db.console.oidc.settings import OidcSettings
from db.console.oidc.tokens import Expected, LoggedOut, TokenError
from db.console.settings import ConsoleSettings
from db.errors import SettingsError
from db.schema import SignIn
from db.store.session import Database
from tests.unit.db.console.oidc.conftest import Visit, asked_for, sign_in_there

Account = Callable[..., None]
Logged = Callable[[], list[tuple[str, str]]]
EXPECTED = Expected("https://id.example.com", "unmask")
NOW = 1_800_000_000.0


def role_of(database: Database, name: str) -> str | None:
    with database.reading() as session:
        person = people.find_person(session, name)
        return person.role if person is not None else None


def test_whoever_is_in_a_group_with_a_role_comes_in_and_goes_where_they_wanted(
    database: Database, visit: Visit, account: Account, logged: Logged
) -> None:
    account("u1", "ada", "everybody", "moderators")
    browser = visit()
    assert 'href="/oidc/start?next=/audit"' in browser.get("/sign-in?next=/audit").text
    answer = browser.get(sign_in_there(browser, "u1", "/help"))
    assert answer.status_code == 200
    assert 'content="0; url=/help"' in answer.text
    assert browser.get("/help").status_code == 200
    assert role_of(database, "ada") == "reviewer"
    assert browser.get("/people").status_code == 403  # a reviewer's role, and no more
    assert logged()[:2] == [("ada", "person_added"), ("ada", "signed_in")]


def test_the_role_follows_the_groups_at_the_next_sign_in(database: Database, visit: Visit, account: Account) -> None:
    browser = visit()
    account("u1", "ada", "moderators", "leads")
    browser.get(sign_in_there(browser, "u1"))
    assert role_of(database, "ada") == "lead"  # of several groups, the first in the setting
    account("u1", "renamed", "legal")
    browser.get(sign_in_there(browser, "u1"))
    assert role_of(database, "ada") == "auditor"  # the subject counts, not the name
    assert role_of(database, "renamed") is None


def test_somebody_without_a_group_has_no_access_and_is_told_which_groups_have(visit: Visit, account: Account) -> None:
    account("u1", "ada", "moderators")
    inside, outside = visit(), visit()
    inside.get(sign_in_there(inside, "u1"))
    assert inside.get("/help").status_code == 200
    account("u1", "ada", "everybody")
    answer = outside.get(sign_in_there(outside, "u1"))
    assert answer.status_code == 403
    assert "none of your groups has a role" in answer.text
    assert "leads, moderators, legal" in answer.text
    assert inside.get("/help").headers["location"].startswith("/sign-in")  # signed out everywhere


def test_a_disabled_person_and_somebody_elses_name_stay_outside(
    database: Database, visit: Visit, account: Account, issuer: str
) -> None:
    account("u1", "ada", "moderators")
    account("u2", "bob", "leads")
    browser = visit()
    browser.get(sign_in_there(browser, "u1"))
    with database.writing() as session:
        people.set_disabled(session, people.get_by_name(session, "ada"), disabled=True)
        people.add_person(session, "bob", "reviewer", "correct horse battery")
    assert "ada is disabled here" in browser.get(sign_in_there(browser, "u1")).text
    refused = browser.get(sign_in_there(browser, "u2"))
    assert (refused.status_code, role_of(database, "bob")) == (403, "reviewer")
    assert "bob is registered here already" in refused.text
    with database.writing() as session:
        mine = KnownIdentity(issuer, "u2")
        identities.link_identity(session, mine, people.get_by_name(session, "bob"))
    browser.get(sign_in_there(browser, "u2"))
    assert role_of(database, "bob") == "lead"


def test_state_nonce_and_pkce_go_with_each_sign_in_and_are_never_the_same(visit: Visit) -> None:
    browser = visit()
    first, second = asked_for(browser), asked_for(browser)
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]
    assert (first["code_challenge_method"], first["response_type"]) == ("S256", "code")
    assert first["redirect_uri"] == "http://localhost/oidc/callback"
    flow = SignInFlow.begin("/")
    digest = hashlib.sha256(flow.verifier.encode()).digest()
    assert len(urlsafe_b64encode(digest).rstrip(b"=")) == 43


def test_an_answer_counts_only_in_the_browser_that_began_and_only_once(
    visit: Visit, account: Account, database: Database
) -> None:
    account("u1", "ada", "moderators")
    attacker, victim = visit(), visit()
    path = sign_in_there(attacker, "u1")
    assert victim.get(path).status_code == 403  # no cookie: signing somebody in as another is refused
    victim.get("/oidc/start")
    assert victim.get(path).status_code == 403  # another sign-in's cookie
    with database.reading() as session:
        assert session.scalars(select(SignIn)).all() == []
    assert attacker.get(path).status_code == 200
    assert attacker.get(path).status_code == 403  # the cookie is gone
    forged = path.replace("state=", "state=0")
    assert visit().get(forged).status_code == 403


def test_signing_in_makes_a_new_token_whatever_cookie_came_along(
    visit: Visit, account: Account, database: Database
) -> None:
    account("u1", "ada", "moderators")
    browser = visit()
    browser.client.cookies.set("unmask", "planted")
    browser.get(sign_in_there(browser, "u1"))
    with database.reading() as session:
        assert sign_ins.find_sign_in(session, "planted", 60) is None
        assert len(session.scalars(select(SignIn)).all()) == 1


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("error=access_denied", "did not sign you in: access_denied"),
        ("", "did not sign you in: no code"),
        ("code=made-up", "did not answer as expected"),
        ("code=x&iss=https%3A%2F%2Fevil.example", "comes from another OpenID provider"),
    ],
)
def test_what_goes_wrong_at_the_provider_is_a_page_that_says_so(visit: Visit, query: str, why: str) -> None:
    browser = visit()
    state = asked_for(browser)["state"]
    answer = browser.get(f"/oidc/callback?state={state}&{query}")
    assert answer.status_code in (403, 503)
    assert why in answer.text


def test_a_provider_that_is_away_keeps_nobody_from_passwords(visit: Visit) -> None:
    with_none = visit(oidc_issuer="http://127.0.0.1:9", oidc_timeout_s=1)
    answer = with_none.get("/oidc/start")
    assert answer.status_code == 503
    assert "You cannot sign in by OpenID at this moment" in answer.text
    assert 'name="password"' in with_none.get("/sign-in").text


def test_requests_go_to_the_configured_hosts_only(issuer: str) -> None:
    settings = OidcSettings(oidc_issuer=issuer, oidc_client_id="unmask", oidc_roles=("a=lead",))
    provider = Provider(settings, "http://localhost")
    with pytest.raises(ProviderError, match="names evil"), provider.session() as session:
        session.get("http://evil.example/jwks", withhold_token=True)
    with pytest.raises(ProviderError, match="names"), provider.session() as session:
        session.get(issuer.replace("http:", "https:"), withhold_token=True)


def test_without_a_provider_there_is_no_such_page(open_browser: Visit) -> None:
    assert open_browser().get("/oidc/start").status_code == 404
    assert "company account" not in open_browser().get("/sign-in").text


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "k", "use": "sig", "alg": "RS256"})


def signed(key: RSAKey, **claims: object) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k"}, claims, key)


GOOD: dict[str, object] = {
    "iss": EXPECTED.issuer,
    "aud": "unmask",
    "sub": "u1",
    "iat": NOW,
    "exp": NOW + 60,
    "nonce": "n",
}
BAD_ID: dict[str, dict[str, object]] = {
    "another issuer": {"iss": "https://evil.example"},
    "another client": {"aud": "other"},
    "two audiences, and not for us": {"aud": ["unmask", "other"], "azp": "other"},
    "expired": {"exp": NOW - 3600},
    "another sign-in": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "no subject": {"sub": None},
    "another access token": {"at_hash": "AAAA"},
}


@pytest.mark.parametrize("what", BAD_ID)
def test_an_id_token_that_is_not_ours_is_refused(key: RSAKey, what: str) -> None:
    claims = {name: value for name, value in (GOOD | dict(BAD_ID[what])).items() if value is not None}
    keys = KeySet([key])
    assert tokens.read_id_token(signed(key, **GOOD), keys, EXPECTED, "n", "access", NOW)["sub"] == "u1"
    with pytest.raises(TokenError):
        tokens.read_id_token(signed(key, **claims), keys, EXPECTED, "n", "access", NOW)


def test_a_token_that_nobody_or_somebody_else_signed_is_refused(key: RSAKey) -> None:
    keys, other = KeySet([key]), RSAKey.generate_key(2048, {"kid": "k"})
    header, _, signature = signed(key, **GOOD).partition(".")
    for token in (signed(other, **GOOD), "", "a.b.c", f"{header}.e30.{signature}", _unsigned()):
        with pytest.raises(TokenError):
            tokens.read_id_token(token, keys, EXPECTED, "n", "access", NOW)


def _unsigned() -> str:
    """The header {"alg":"none"}."""
    return f"eyJhbGciOiJub25lIn0.{urlsafe_b64encode(str(GOOD).replace(chr(39), chr(34)).encode()).decode()}."


LOGOUT: dict[str, object] = {
    "iss": EXPECTED.issuer,
    "aud": "unmask",
    "iat": NOW,
    "jti": "1",
    "events": {tokens.LOGOUT: {}},
    "sid": "s",
}
BAD_LOGOUT: dict[str, dict[str, object]] = {
    "another issuer": {"iss": "x"},
    "another client": {"aud": "x"},
    "an ID token": {"events": None},
    "a nonce": {"nonce": "n"},
    "old": {"iat": NOW - 3600},
    "of tomorrow": {"iat": NOW + 3600},
    "nobody": {"sid": None},
}


@pytest.mark.parametrize("what", BAD_LOGOUT)
def test_a_logout_token_that_is_not_one_is_refused(key: RSAKey, what: str) -> None:
    keys = KeySet([key])
    assert tokens.read_logout_token(signed(key, **LOGOUT), keys, EXPECTED, NOW) == LoggedOut(None, "s")
    claims = {name: value for name, value in (LOGOUT | dict(BAD_LOGOUT[what])).items() if value is not None}
    with pytest.raises(TokenError):
        tokens.read_logout_token(signed(key, **claims), keys, EXPECTED, NOW)


def test_a_logout_ends_what_began_at_the_provider_and_nothing_else(database: Database) -> None:
    identity = KnownIdentity(EXPECTED.issuer, "u1")
    with database.writing() as session:
        ada = identities.person_of(session, identity, "ada", "lead")
        here, one, two = (sign_ins.start_sign_in(session, ada, 600, at) for at in (None, "s1", "s2"))
    with database.writing() as session:
        assert identities.end_sign_ins(session, None, None) == []
        assert identities.end_sign_ins(session, None, "s1") == ["ada"]
        alive = [sign_ins.find_sign_in(session, token, 600) is not None for token in (here, one, two)]
        assert alive == [True, False, True]
        assert identities.end_sign_ins(session, identity, None) == ["ada"]
        assert sign_ins.find_sign_in(session, here, 600) is not None
        assert sign_ins.find_sign_in(session, two, 600) is None


def test_a_back_channel_message_that_is_not_the_providers_is_refused(visit: Visit) -> None:
    browser = visit()
    answer = browser.client.post("/oidc/back-channel-logout", data={"logout_token": "a.b.c"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


BAD_SETTINGS = {
    "needs https": {"oidc_issuer": "http://id.example.com"},
    "needs UNMASK_OIDC_CLIENT_ID": {"oidc_client_id": ""},
    "'leads=boss'": {"oidc_roles": "leads=boss"},
    "'leads'": {"oidc_roles": "leads"},
}


@pytest.mark.parametrize("why", BAD_SETTINGS)
def test_settings_that_cannot_work_are_refused_at_the_start(why: str) -> None:
    given = {"oidc_issuer": "https://id.example.com", "oidc_client_id": "c", "oidc_roles": "leads=lead"}
    assert OidcSettings.model_validate(given).role_of(["x", "leads"]) == "lead"
    with pytest.raises(ValueError, match=why):
        OidcSettings.model_validate(given | BAD_SETTINGS[why])


def test_the_trusted_header_allows_no_other_way_in() -> None:
    oidc = OidcSettings(oidc_issuer="https://id.example.com", oidc_client_id="c", oidc_roles=("a=lead",))
    header = {"console_trusted_header": "X-User", "console_trusted_proxy": "10.0.0.1"}
    with pytest.raises(SettingsError, match="exclude each other"):
        check_ways_in(ConsoleSettings.model_validate(header), oidc)


def test_the_clock_of_a_provider_may_be_a_minute_off(key: RSAKey) -> None:
    claims = GOOD | {"exp": NOW - 30, "iat": NOW + 30}
    assert tokens.read_id_token(signed(key, **claims), KeySet([key]), EXPECTED, "n", "access", NOW)["sub"] == "u1"
