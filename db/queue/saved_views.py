"""Saved views: filters and order of the queue under a name, one's own or shared with everybody."""

from urllib.parse import parse_qsl, urlencode

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, DeniedError, NotFoundError
from db.queue.case_filter import PARAMETERS, CaseFilter
from db.schema import SavedView

#: A person's views, and those shared by everybody: each is counted on the queue's page.
MAX_VIEWS = 20
_NAME_LENGTH = 64


def save_view(session: Session, author: str, name: str, query: str, *, shared: bool) -> SavedView:
    """Save a view; raises `DbError` for a bad name or filter, and `ConflictError` for a name that is taken."""
    name = name.strip()
    if not 1 <= len(name) <= _NAME_LENGTH or not name.isprintable() or "/" in name:
        raise DbError(f"the name of a view has 1 to {_NAME_LENGTH} characters, without a slash: {name!r}")
    own = [view for view in list_views(session, author) if view.author == author]
    if len(own) >= MAX_VIEWS:
        raise ConflictError(f"you have {MAX_VIEWS} views already: delete one first")
    taken = next((view for view in own if view.name == name), None) or (shared and _find_shared(session, name))
    if taken:
        raise ConflictError(f"a view named {name!r} exists already, by {taken.author}: choose another name")
    view = SavedView(author=author, name=name, query=clean_query(query, author), shared=shared)
    session.add(view)
    session.flush()
    return view


def list_views(session: Session, person: str) -> list[SavedView]:
    """A person's own views and the shared ones, by name."""
    seen = select(SavedView).where(or_(SavedView.author == person, SavedView.shared))
    return list(session.scalars(seen.order_by(SavedView.name, SavedView.id).limit(2 * MAX_VIEWS)))


def find_view(session: Session, person: str, name: str) -> SavedView:
    """A view by its name: one's own, else the shared one; raises `NotFoundError`."""
    own = session.scalar(select(SavedView).where(SavedView.author == person, SavedView.name == name))
    found = own or _find_shared(session, name)
    if found is None:
        raise NotFoundError(f"there is no view named {name!r}")
    return found


def delete_view(session: Session, view_id: int, person: str, *, lead: bool) -> str:
    """Delete one's own view, or as a lead anybody's shared one; returns its name.

    Raises `DeniedError`, and `NotFoundError` also for another person's own view.
    """
    view = session.get(SavedView, view_id)
    if view is None or not (view.shared or view.author == person):
        raise NotFoundError("this view does not exist")
    if view.author != person and not lead:
        raise DeniedError(f"this view is {view.author}'s: only they or a lead may delete it")
    session.delete(view)
    return view.name


def clean_query(query: str, person: str) -> str:
    """The known filters in the query of a URL; raises `DbError` for a bad one."""
    given = {name: value for name, value in parse_qsl(query.removeprefix("?")) if name in PARAMETERS and value}
    CaseFilter.parse(given, person)
    return urlencode(given)


def _find_shared(session: Session, name: str) -> SavedView | None:
    return session.scalar(select(SavedView).where(SavedView.shared, SavedView.name == name).limit(1))
