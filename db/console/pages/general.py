"""Pages that need no role: the health check, display preferences, and help."""

from sqlalchemy import select
from starlette.responses import PlainTextResponse, Response

from db.console.views import keys
from db.console.web import cookies
from db.console.web.context import PageContext
from db.console.web.cookies import BREAKS, KEYS, PICTURES, THEMES, DisplayPreferences
from db.console.web.forms import local_path


def show_health(page: PageContext) -> Response:
    """Say that the console and its database answer; without the database `PageEndpoint` answers 503."""
    with page.database.reading() as session:
        session.execute(select(1))
    return PlainTextResponse("well\n")


def show_help(page: PageContext) -> Response:
    """What each key does, and the terms that the console uses."""
    return page.render("help.html", pages=keys.PAGES)


def show_preferences(page: PageContext) -> Response:
    """The form of the display preferences."""
    back = local_path(page.param("back"))
    return page.render("preferences.html", back=back, themes=THEMES, kinds=PICTURES, keys=KEYS, breaks=BREAKS)


def save_preferences(page: PageContext) -> Response:
    """Save the display preferences in a cookie, and go back to the page that one came from."""
    chosen = DisplayPreferences.parse(".".join(page.param(name) for name in ("theme", "pictures", "keys", "rest")))
    response = page.redirect(local_path(page.param("back")))
    cookies.set_cookie(response, cookies.PREFERENCES, str(chosen), secure=page.console.settings.secure)
    return response
