"""``unmask model novelty``: clusters of photos that may be of an engine that nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from db.commands.database import open_database
from db.commands.output import emit, emit_json, json_option
from db.models import versions

if TYPE_CHECKING:  # NumPy comes with it
    from db.quality.novelty import ClusterPhoto, NovelCluster, NoveltyLook


@click.command("novelty")
@click.argument("name", required=False)
@click.option("--days", type=click.IntRange(1, 365), default=7, show_default=True, help="How many days are recent.")
@click.option(
    "--reference-days",
    type=click.IntRange(1, 365),
    default=28,
    show_default=True,
    help="How many days before these to compare them with.",
)
@json_option
def model_novelty(*, name: str | None, days: int, reference_days: int, as_json: bool) -> None:
    """Find photos that may be of an AI engine that the model does not know.

    It lists clusters of photos that the active model, or NAME, finds alike, and that have become several times as
    frequent as in the reference time, with up to twelve photos of each. expected: how many of its photos would be there
    if it had not grown. chance: how many such clusters one look finds,
    at most, where nothing has changed; none above 0.01 is listed. Look at the photos (`unmask image show ID`; the
    console shows flagged ones by their case). If they are AI-generated, save twenty or more to a folder and run `unmask
    engine add NAME FOLDER`. If they are real, a camera or a fashion is new: nothing needs to be done, and in some weeks
    the cluster is part of the reference.

    Workers keep what this needs of flagged photos, of those with the highest scores, and of a few others
    (UNMASK_PROJECTION_SHARE, UNMASK_PROJECTION_SAMPLE). One photo of each account counts. deploy/STATISTICS.md says
    after how many days new engines were found.
    """
    from db.quality.novelty import look_for_novelty

    with open_database().reading() as session:
        version = versions.by_name(session, name) if name else versions.active(session)
        look = look_for_novelty(session, version, days, reference_days)
    if as_json:
        emit_json(_document(look))
        return
    click.echo(f"Compared {look.recent} photos of {days} days with {look.reference} of {reference_days} days before.")
    emit([_row(number, cluster) for number, cluster in _numbered(look)], as_json=False, empty="No cluster has grown.")
    for number, cluster in _numbered(look):
        click.echo(f"Photos of cluster {number}: {', '.join(map(_shown, cluster.photos))}")


def _numbered(look: NoveltyLook) -> list[tuple[int, NovelCluster]]:
    return list(enumerate(look.clusters, start=1))


def _row(number: int, cluster: NovelCluster) -> dict[str, Any]:
    return {
        "cluster": number,
        "size": cluster.size,
        "expected": round(cluster.expected),
        "growth": cluster.growth,
        "chance": f"{cluster.chance:.2g}",
        "mean_score": cluster.mean_score,
        "flagged": cluster.flagged,
    }


def _shown(photo: ClusterPhoto) -> str:
    return photo.image_id if photo.case_id is None else f"{photo.image_id} (case {photo.case_id})"


def _document(look: NoveltyLook) -> dict[str, Any]:
    return {
        "model": look.model,
        "recent": look.recent,
        "reference": look.reference,
        "clusters": [
            _row(number, cluster)
            | {"chance": cluster.chance}
            | {"photos": [{"image": p.image_id, "score": p.score, "case": p.case_id} for p in cluster.photos]}
            for number, cluster in _numbered(look)
        ],
    }
