"""Signing in at the OpenID provider: there and back, and its message that somebody has signed out."""

import logging
from typing import Any
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from db.access import audit, identities
from db.access.identities import KnownIdentity
from db.console.oidc.flow import SignInFlow
from db.console.oidc.provider import Provider, ProviderError
from db.console.oidc.tokens import TokenError
from db.console.pages.sign_in import begin_session
from db.console.web import cookies
from db.console.web.context import PageContext
from db.console.web.dispatch import error_page
from db.errors import BusyError, ConflictError, DbError, DeniedError, NotFoundError

log = logging.getLogger(__name__)


def start(page: PageContext) -> Response:
    """Send the browser to the provider, with a cookie that only this sign-in has."""
    provider, flow = _provider(page), SignInFlow.begin(page.param("next"))
    try:
        url = provider.authorization_url(flow.state, flow.nonce, flow.verifier)
    except (ProviderError, BusyError) as error:
        return _unavailable(page, error)
    response = page.redirect(url)
    cookies.set_cookie(response, cookies.OIDC, str(flow), secure=page.console.settings.secure)
    return response


def finish(page: PageContext) -> Response:
    """Sign in whoever comes back from the provider, if their groups have a role here."""
    response = _finished(page)
    cookies.delete_cookie(response, cookies.OIDC, secure=page.console.settings.secure)
    return response


def back_channel_logout(page: PageContext) -> Response:
    """The provider says that somebody has signed out there: end their sign-ins here."""
    provider = _provider(page)
    try:
        gone = provider.read_logout_token(page.form.get("logout_token", ""))
    except (TokenError, ProviderError, BusyError) as error:
        log.warning("a back-channel logout was refused: %s", error)
        status = 400 if isinstance(error, TokenError) else 503
        return JSONResponse({"error": "invalid_request", "error_description": str(error)}, status)
    with page.database.writing() as session:
        known = KnownIdentity(provider.settings.oidc_issuer, gone.subject) if gone.subject else None
        for name in identities.end_sign_ins(session, known, gone.session):
            audit.log(session, name, "signed_out", detail="by the OpenID provider")
    return Response(status_code=200)


def end_session_link(page: PageContext) -> str | None:
    """The link by which somebody who has signed out here also signs out of the provider."""
    provider = page.console.provider
    url = provider.end_session_url() if provider is not None else None
    if provider is None or url is None:
        return None
    back = {
        "client_id": provider.settings.oidc_client_id,
        "post_logout_redirect_uri": f"{provider.console_url}/sign-in",
    }
    return f"{url}{'&' if '?' in url else '?'}{urlencode(back)}"


def _finished(page: PageContext) -> Response:
    provider = _provider(page)
    cookie = cookies.read_cookie(page.request, cookies.OIDC, secure=page.console.settings.secure)
    flow = SignInFlow.parse(cookie)
    query = page.request.query_params
    if flow is None or not flow.is_state(query.get("state", "")):
        return error_page(page, "This sign-in has expired, or began in another browser. Begin again.", 403)
    if query.get("iss", provider.settings.oidc_issuer) != provider.settings.oidc_issuer:
        return error_page(page, "This answer comes from another OpenID provider.", 403)
    if "code" not in query:
        return error_page(page, f"The OpenID provider did not sign you in: {query.get('error', 'no code')[:100]}.", 403)
    try:
        claims = provider.redeem(query["code"], flow.nonce, flow.verifier)
    except TokenError as error:
        log.warning("an OpenID sign-in was refused: %s", error)
        return error_page(page, "The OpenID provider's answer is not valid. Begin again.", 403)
    except (ProviderError, BusyError) as error:
        return _unavailable(page, error)
    return _sign_in(page, provider, flow, claims)


def _sign_in(page: PageContext, provider: Provider, flow: SignInFlow, claims: dict[str, Any]) -> Response:
    settings = provider.settings
    identity = KnownIdentity(settings.oidc_issuer, str(claims["sub"]))
    name = str(claims.get(settings.oidc_name_claim) or claims["sub"])
    role = settings.role_of(claims.get(settings.oidc_groups_claim))
    if role is None:
        return _without_role(page, identity, name)
    try:
        with page.database.writing() as session:
            person = identities.person_of(session, identity, name, role)
            session.flush()
            session.expunge(person)
    except (ConflictError, DeniedError, DbError) as error:
        return error_page(page, str(error), 403)
    response = page.render("signed_in.html", next=flow.next_path, name=person.name)
    sid = claims.get("sid")
    begin_session(page, response, person, "OpenID", provider_session=str(sid) if sid is not None else "")
    return response


def _without_role(page: PageContext, identity: KnownIdentity, name: str) -> Response:
    """No access. Whoever had a role until now is signed out everywhere."""
    groups = ", ".join(pair.rpartition("=")[0] for pair in _provider(page).settings.oidc_roles)
    with page.database.writing() as session:
        for known in identities.end_sign_ins(session, identity, None):
            audit.log(session, known, "signed_out", detail="in no group with a role")
    return page.render("no_role.html", 403, name=name, groups=groups)


def _unavailable(page: PageContext, error: DbError) -> Response:
    log.error("signing in by OpenID failed: %s", error)
    return error_page(page, f"You cannot sign in by OpenID at this moment: {error}.", 503)


def _provider(page: PageContext) -> Provider:
    if page.console.provider is None:
        raise NotFoundError("this console has no OpenID provider")
    return page.console.provider
