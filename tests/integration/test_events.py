"""A platform hears from a real worker what became of each of its photos, in the words of `deploy/EVENTS.md`."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema_rs
from sqlalchemy import text
from standardwebhooks import Webhook
from unmask_client import verify_webhook

from db.store.session import Database
from tests.clients.peer import Answer, Asked, listening
from tests.integration.test_observed import running, unmask, wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example
PAGE = (Path(__file__).parents[2] / "deploy" / "EVENTS.md").read_text()
SCHEMAS = {schema["title"]: schema for schema in map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))}


def test_each_photos_outcome_is_heard_signed_and_as_the_catalogue_says(
    database: Database, database_url: str, broker_url: str, tiny_checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    shutil.copy(photo, media / "good.jpg")
    (media / "junk.jpg").write_bytes(b"<html>")
    with listening() as peer:
        peer.answers = [Answer(500), *[Answer(204, b"")] * 20]
        environment = os.environ | {
            "UNMASK_DATABASE_URL": database_url,
            "UNMASK_BROKER_URL": broker_url,
            "UNMASK_MODELS_DIR": str(tmp_path / "models"),
            "UNMASK_MEDIA_ROOT": str(media),
            "UNMASK_RUN_DIR": str(tmp_path / "run"),
            "UNMASK_ENGINE": "eager",
            "UNMASK_WEBHOOK_URL": peer.url,
            "UNMASK_WEBHOOK_SECRET": SECRET,
            "UNMASK_WEBHOOK_EVENTS": "case.opened,image.scored,image.flagged,image.failed",
        }
        unmask(environment, "model", "register", str(tiny_checkpoint))
        unmask(environment, "threshold", "set", "--value", "0", "--reason", "all")
        with running(environment) as log:
            # Once the worker runs: what happened before it chose the kinds is not told.
            wait_until(lambda: "image.scored" in unmask(environment, "webhook", "list"), log)
            submit(database)
            wait_until(lambda: len(peer.asked) == 5, log)  # the first attempt fails, and comes again
            wait_until(lambda: states(environment) == ["done"] * 4, log)
    told = heard(peer.asked)
    assert sorted(told) == ["case.opened", "image.failed", "image.flagged", "image.scored"]
    for kind in ("image.scored", "image.flagged"):
        assert told[kind] == shown(environment, "good") | {"account_id": "ada"}
    assert told["image.failed"] == shown(environment, "junk") | {"account_id": "bob"}
    assert (told["image.failed"]["reason"], told["image.failed"]["flagged"]) == ("not_an_image", None)
    assert told["image.failed"]["state"] in ("unusable", "failed")
    assert (told["case.opened"]["account"], told["case.opened"]["images"]) == ("ada", ["good"])


def submit(database: Database) -> None:
    """As a platform does: by a row."""
    rows = "('good', 'ada', 'good.jpg'), ('junk', 'bob', 'junk.jpg')"
    with database.writing() as session:
        session.execute(text(f"INSERT INTO images (id, account_id, url) VALUES {rows}"))  # noqa: S608 - our own


def heard(asked: list[Asked]) -> dict[str, dict[str, Any]]:
    """The data of each kind, once what came twice is left out; every signature and every body was right."""
    ids, told = set(), {}
    for request in asked:
        event = Webhook(SECRET).verify(request.body, dict(request.headers))
        assert event == verify_webhook(SECRET, request.headers, request.body)
        schema = SCHEMAS["CaseEvent" if event["type"].startswith("case.") else "ImageEvent"]
        jsonschema_rs.validator_for(schema).validate(event)
        ids.add(request.headers["webhook-id"])
        told[event["type"]] = event["data"]
    assert len(ids) == len(told) == 4
    return told


def shown(environment: dict[str, str], image_id: str) -> dict[str, Any]:
    """What the record says of an image, without what webhooks leave out."""
    found: dict[str, Any] = json.loads(unmask(environment, "image", "show", image_id, "--json"))
    names = SCHEMAS["ImageEvent"]["$defs"]["ImageData"]["required"]
    return {name: found[name] for name in names if name != "account_id"}


def states(environment: dict[str, str]) -> list[str]:
    return [row["state"] for row in json.loads(unmask(environment, "webhook", "list", "--json"))]
