"""The queue: what waits and for how long, search, and the next case."""

from urllib.parse import urlencode

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.review import cases, queue
from db.review.cases import CaseLine
from db.console.visit import Visit, digits
from db.console.working import choices, is_blind, order_of, undoable
from db.schema import CASE_STATES


def show(visit: Visit) -> Response:
    """Cases by state, policy, age or score; or those of accounts whose id begins so."""
    begins = visit.asked("account").strip()
    rows = visit.console.settings.console_rows
    with visit.database.reading() as session:
        found = cases.search(session, begins, rows + 1) if begins else _listed(session, visit, rows + 1)
        done = undoable(session, visit)
    with visit.database.writing() as session:
        what = "searched" if begins else "listed"
        audit.note(session, visit.who.name, what, detail=f"{len(found[:rows])} cases")
    more = len(found) > rows
    return visit.page(
        "queue.html",
        lines=found[:rows],
        next_page=_next_page(visit, found[rows - 1]) if more and not begins else None,
        cut=more and bool(begins),
        state=_state(visit) or "all",
        states=(*CASE_STATES, "all"),
        policy=visit.asked("policy"),
        order=order_of(visit),
        account=begins,
        done=done,
        choices=choices(visit),
        blind={line.case.id for line in found if is_blind(visit, line.case)},
        nothing_free=bool(visit.asked("none")),
    )


def backlog(visit: Visit) -> Response:
    """The numbers at the top, which a page asks for again now and then."""
    return visit.page("backlog.html")


def take_next(visit: Visit) -> Response:
    """Keep the next case for this person, and show it."""
    return go_next(visit)


def go_next(visit: Visit, *, decided: int | None = None, but: tuple[int, ...] = ()) -> Response:
    """To the next case, or to the queue when there is none."""
    with visit.database.writing() as session:
        case_id = queue.next_case(
            session,
            visit.who.name,
            policy=visit.asked("policy") or None,
            order=order_of(visit),
            lease_s=visit.console.review.review_lease_s,
            but=but,
        )
    after = choices(visit)
    after |= {"decided": str(decided)} if decided is not None else {}
    after |= {"none": "1"} if case_id is None else {}
    path = f"/cases/{case_id}" if case_id is not None else "/"
    return visit.go(f"{path}?{urlencode(after)}" if after else path)


def _listed(session: Session, visit: Visit, limit: int) -> list[CaseLine]:
    policy, after = visit.asked("policy") or None, digits(visit.asked("after"))
    return cases.list_cases(session, _state(visit), policy, limit, order=order_of(visit), after=after)


def _state(visit: Visit) -> str | None:
    """Open ones, unless others are asked for; None: all."""
    asked = visit.asked("state") or "open"
    return asked if asked in CASE_STATES else None


def _next_page(visit: Visit, last: CaseLine) -> str:
    asked = choices(visit) | {"state": visit.asked("state") or "open", "after": str(last.case.id)}
    return "/?" + urlencode(asked)
