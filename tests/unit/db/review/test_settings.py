"""Which cases a reviewer sees blind."""

from db.review.settings import ReviewSettings


def drawn(share: float, reviewer: str) -> list[bool]:
    return [ReviewSettings(blind_share=share).shows_blind(case_id, reviewer) for case_id in range(10_000)]


def test_the_same_cases_are_blind_for_a_reviewer_each_time_and_about_as_many_as_the_share() -> None:
    blind = drawn(0.1, "ada")
    assert blind == drawn(0.1, "ada")
    assert 850 <= sum(blind) <= 1150
    assert blind != drawn(0.1, "bob")
    assert not any(drawn(0.0, "ada"))
    assert all(drawn(1.0, "ada"))
