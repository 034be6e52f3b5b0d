"""Cases are found in a terminal by age, score and account, page by page."""

from collections.abc import Callable
from typing import Any

from db.commands.cases import cases_group
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

Asked = Callable[..., Any]


def test_cases_are_paged_in_either_order_and_searched_by_account(database: Database, asked: Asked) -> None:
    with database.writing() as session:
        version = versions.register(session, "first", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        found = {"ada": 0.7, "bob": 0.9, "adam": 0.8}
        images.add_images(session, [NewImage(name, name, f"{name}.jpg") for name in found], -60)
        for name, score in found.items():
            scored = Scored(name, "default", score, "f" * 64, 1000, 640, 480)
            scores.record(session, [scored], Provenance(version.id, "eager-fp32", "cpu"))

    def accounts(*arguments: str) -> list[str]:
        return [row["account"] for row in asked(cases_group, *arguments)]

    assert accounts("list") == ["ada", "bob", "adam"]
    assert accounts("list", "--order", "score") == ["bob", "adam", "ada"]
    last = asked(cases_group, "list", "--order", "score", "--limit", "2")[-1]["case"]
    assert accounts("list", "--order", "score", "--after", str(last)) == ["ada"]
    assert accounts("search", "ada") == ["ada", "adam"]
