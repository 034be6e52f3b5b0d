"""Search: accounts, images and cases, flagged or not."""

from starlette.responses import Response

from db.access import audit
from db.console.views.case_lines import case_lines
from db.console.views.thumbnails import request_thumbnails
from db.console.web.context import PageContext
from db.queue.search import search


def show_search(page: PageContext) -> Response:
    """What a search finds. Images come without scores, and their places tell nothing of them."""
    text = (page.param("q") or page.param("account")).strip()
    with page.database.reading() as session:
        found = search(session, text, page.console.settings.console_rows)
        lines = case_lines(session, page, found.cases)
    with page.database.writing() as session:
        audit.log(session, page.user.name, "searched", detail=f"{len(lines)} cases, {len(found.images)} images")
        request_thumbnails(session, [line.thumbnail for line in lines], page.user.name)
    return page.render("search.html", text=text, lines=lines, images=found.images, more=found.more)
