"""Harm to rows: an application leaves odd ones among the good, in a database without constraints."""

from db.work import images
from db.work.images import NewImage
from tests.chaos.fault import Fault
from tests.chaos.kinds import Upload
from tests.chaos.world import World
from tests.odd_rows import all_kinds, change_unchecked, sql

#: Found by a look at all rows that waits ten minutes, or known by no id that says its kind.
_LEFT_OUT = {"unknown", "id"}
_NOW = {"postgresql": "now()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')"}


def _leave_odd_rows(world: World) -> None:
    """One row of each kind, which becomes odd and due in one statement."""
    for change, said in all_kinds(world.database).values():
        if said in _LEFT_OUT:
            continue
        image_id = Upload("odd", "p0").new_id()
        with world.database.writing() as session:
            images.add_images(session, [NewImage(image_id, "account-odd", "p0.jpg")], 3600)
        due = "" if said == "next_attempt_at" else f", next_attempt_at = {_NOW[world.database.url.get_backend_name()]}"
        change_unchecked(world.database, image_id, sql(world.database, change) + due)
        world.pause(world.random.uniform(0, 0.2))


ODD = Fault("rows: odd ones among good ones", _leave_odd_rows, 3, 1)
