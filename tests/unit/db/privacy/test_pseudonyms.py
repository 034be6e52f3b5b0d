"""An account may be told from others without anybody learning whose it is."""

from db.privacy.pseudonyms import Pseudonyms, PseudonymSettings


def test_an_account_has_one_name_in_logs_that_only_the_key_can_make() -> None:
    ours, theirs = (Pseudonyms(PseudonymSettings(log_key=key)) for key in ("a", "b"))
    assert ours.of("ada") == Pseudonyms(PseudonymSettings(log_key="a")).of("ada")
    assert len({ours.of("ada"), ours.of("bob"), theirs.of("ada"), "ada"}) == 4
    assert Pseudonyms(PseudonymSettings()).of("ada") != Pseudonyms(PseudonymSettings()).of("ada")
    assert Pseudonyms(PseudonymSettings(log_accounts=True)).of("ada") == "ada"
