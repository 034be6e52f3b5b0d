"""Whatever hangs, the answers come within the limit, and what did not answer is named."""

import threading
import time

from worker.core.bounded import Answer, ask_all, process_age_s


def test_what_hangs_is_left_behind_and_everything_else_is_answered() -> None:
    forever = threading.Event()
    error = ValueError("no")

    def refuse() -> None:
        raise error

    begun = time.monotonic()
    answers = ask_all({"hung": forever.wait, "quick": lambda: 7, "refused": refuse, "too": forever.wait}, 0.2)
    assert time.monotonic() - begun < 10
    assert answers == {
        "hung": Answer(came=False),
        "quick": Answer(7),
        "refused": Answer(error=error),
        "too": Answer(came=False),
    }
    forever.set()


def test_a_process_knows_how_long_it_has_run() -> None:
    first = process_age_s()
    assert 0 < first < 24 * 3600
    time.sleep(0.05)
    assert process_age_s() > first
