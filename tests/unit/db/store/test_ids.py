"""Names that people would take for one another are known as such."""

import pytest

from db.store.ids import look_alike


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("ada", "ada"),
        ("Ada", "ada"),
        ("STRASSE", "straße"),
        ("jose\u0301", "jos\u00e9"),
        ("\uff41da", "ada"),
        ("a\u200bda", "ada"),
        ("ada\u00ad", "ada"),
        ("ada ", "ada"),
        ("\u212bngstr\u00f6m", "\u00c5ngstr\u00f6m"),
        ("\u1e9e", "ss"),
    ],
)
def test_names_that_differ_in_case_or_spelling_look_alike(name: str, other: str) -> None:
    assert look_alike(name, ["grace", other]) == other
    assert look_alike(other, ["grace", name]) == name


@pytest.mark.parametrize("name", ["adah", "a-da", "\u00e1da", "ada 2"])
def test_other_names_do_not(name: str) -> None:
    assert look_alike(name, ["ada"]) is None
