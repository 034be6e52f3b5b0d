"""A signature covers the literal URL, so its text goes to the host as it is."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.photos.request_target import exact_target, redirect_url

#: All that may stand in a request line, but for # and \\, which a URL's target does not have.
LITERAL = (string.ascii_letters + string.digits + string.punctuation).replace("#", "").replace("\\", "")


@given(st.text(LITERAL))
def test_every_character_of_a_request_line_stays(text: str) -> None:
    assert exact_target(f"https://cdn.example.com/{text}#a?b/c") == f"/{text}"


@given(st.text())
def test_whatever_the_url_nothing_ends_the_request_line(text: str) -> None:
    try:
        target = exact_target(f"https://cdn.example.com/{text}")
    except ValueError:  # a lone surrogate
        return
    assert target.startswith("/")
    assert all("!" <= character <= "~" for character in target)


@given(st.text(LITERAL))
def test_a_redirect_keeps_every_character(text: str) -> None:
    url = "https://cdn.example.com/old?x"
    assert redirect_url(url, f"https://b.example/{text}") == f"https://b.example/{text}"
    assert redirect_url(url, f"//b.example/{text}") == f"https://b.example/{text}"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a/../%7e", "https://a.example:8443/a/../%7e"),
        ("c.jpg", "https://a.example:8443/x/c.jpg"),
        ("../c.jpg", "https://a.example:8443/c.jpg"),
        ("?q=%3a", "https://a.example:8443/x/b.jpg?q=%3a"),
        ("/f\u00c3\u00bc.jpg", "https://a.example:8443/f%C3%BC.jpg"),  # UTF-8, as http.client reads it
    ],
)
def test_a_redirect_within_a_host(location: str, expected: str) -> None:
    assert redirect_url("https://a.example:8443/x/b.jpg?y", location) == expected
