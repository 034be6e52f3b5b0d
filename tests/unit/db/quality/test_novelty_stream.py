"""On a stream of real embeddings an engine that the head was not fitted on raises the alarm, and nothing else does."""

import numpy as np
import pytest

from tests.benchmarks.novelty import false_alarms, first_alarm, stream_without
from trainer.detector.card import Card
from trainer.detector.checkpoint import SHIPPED
from trainer.fitting.support import VIEW, read_support


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_new_engine_raises_the_alarm_within_ten_days_and_a_quiet_month_none() -> None:
    rows = read_support(SHIPPED, Card.read(SHIPPED).backbone.sha256).rows
    plain = np.array([example.columns[VIEW] == "" for example in rows.examples])
    stream = stream_without(rows.chosen(np.flatnonzero(plain)), "sdxl", folds=2)
    days, clusters = first_alarm(stream, np.random.default_rng(0), 500)
    assert days is not None
    assert days <= 10
    assert clusters == 1
    assert false_alarms(stream, np.random.default_rng(1), 300) == 0
