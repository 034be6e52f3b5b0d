"""Help, and how somebody likes to see the console."""

from starlette.responses import Response

from db.console import cookies
from db.console.look import KEYS, PICTURES, THEMES, Look
from db.console.visit import Visit, local


def help_page(visit: Visit) -> Response:
    """What each key does, and what the words mean."""
    return visit.page("help.html")


def show(visit: Visit) -> Response:
    """The choices."""
    return visit.page("look.html", back=local(visit.asked("back")), themes=THEMES, choices=PICTURES, keys=KEYS)


def choose(visit: Visit) -> Response:
    """Keep them in a cookie."""
    chosen = Look.parse(".".join(visit.asked(name) for name in ("theme", "pictures", "keys")))
    response = visit.go(local(visit.asked("back")))
    cookies.give(response, cookies.LOOK, str(chosen), secure=visit.console.settings.secure)
    return response
