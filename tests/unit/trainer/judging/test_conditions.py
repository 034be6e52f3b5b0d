"""The paper's Table 2 and what it leaves out, on scores whose figures can be counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from db.stats.intervals import Estimate, order_statistic_fpr, wilson
from trainer.data.manifest import Example
from trainer.detector.card import Card
from trainer.detector.card_results import Quality, Reference
from trainer.errors import CheckpointError, ManifestError
from trainer.judging.evaluate import EvaluationTerms, evaluate, results_table
from trainer.judging.results import ConditionRow, EngineRow, Evaluation, LeftOut, LeftOutRow

#: The paper's rates by engine and how many pictures of each it trained on, in parts of 3,750 (its Table 1).
PAPER = {
    "SG1": (0.989, 7),
    "SG2": (0.995, 7),
    "SG3": (0.999, 6),
    "SD1": (0.933, 5),
    "SD2": (0.949, 5),
    "D2": (0.992, 10),
}


def limits(found: Estimate) -> tuple[float, float]:
    return found.low, found.high


class Faces:
    """Examples and their scores, a few at a time."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.scores: list[float] = []

    def add(self, engine: str, *scores: float, split: str = "eval", **columns: str) -> "Faces":
        """Faces of one engine ("camera" for reals) in one split."""
        for score in scores:
            name = str(len(self.scores))
            self.examples.append(Example(Path(name), engine != "camera", engine, split, name, "0" * 64, columns))
            self.scores.append(score)
        return self

    def judged(self, card: Card, terms: EvaluationTerms = EvaluationTerms(target_fpr=0.1)) -> Evaluation:  # noqa: B008 - frozen
        """Their evaluation."""
        return evaluate(self.examples, np.array(self.scores), card, terms, "c" * 64, "d" * 64)


@pytest.fixture
def known(card: Card) -> Card:
    """The card of a detector that knows engine SG and the paper's."""
    counts = {"train": dict.fromkeys(("camera", "SG", *PAPER), 10), "eval": {"MJ": 5}}
    return card.model_copy(update={"data": card.data.model_copy(update={"counts": counts})})


@pytest.fixture
def faces() -> Faces:
    """Ten held-out reals from 0 to 0.9; at an FPR of 10 % the threshold is 0.85."""
    return Faces().add("camera", *(number / 10 for number in range(10)))


def condition(evaluation: Evaluation, name: str) -> ConditionRow:
    (found,) = [row for row in evaluation.conditions if row.name == name]
    return found


def engine(evaluation: Evaluation, name: str) -> EngineRow:
    (found,) = [row for row in evaluation.engines if row.engine == name]
    return found


class TestConditions:
    def test_each_picture_is_in_the_condition_that_the_card_and_the_manifest_say(
        self, faces: Faces, known: Card
    ) -> None:
        faces.add("camera", 0.0, 0.95, split="train").add("SG", 0.9, 0.9, 0.9, split="train")
        faces.add("SG", 0.9, 0.9, 0.9, 0.1).add("MJ", 0.9, 0.2).add("SG", 0.3, 0.9, 0.1, content="nonface")
        faces.add("SG", 0.0, split="spare")

        found = faces.judged(known)

        figures = [(row.name, row.fakes, row.reals, row.tpr, row.fpr) for row in found.conditions]
        assert figures == [
            ("training", 3, 2, 1.0, 0.5),
            ("in-engine", 4, 10, 0.75, 0.1),
            ("out-of-engine", 2, 10, 0.5, 0.1),
            ("non-face", 3, 10, pytest.approx(1 / 3), 0.1),
        ]

    def test_rows_without_pictures_are_left_out(self, faces: Faces, known: Card) -> None:
        found = faces.add("MJ", 0.9).judged(known)

        assert [row.name for row in found.conditions] == ["out-of-engine"]
        assert [row.engine for row in found.engines] == ["MJ"]

    @pytest.mark.parametrize("word", ["nonface", "non-face", "Nonface "])
    def test_what_is_no_face_counts_for_no_engine(self, word: str, faces: Faces, known: Card) -> None:
        found = faces.add("SG", 0.9).add("SG", 0.1, content=word).judged(known)

        assert (engine(found, "SG").fakes, engine(found, "SG").tpr) == (1, 1.0)
        assert condition(found, "non-face").tpr == 0.0

    def test_an_engine_is_in_when_it_was_trained_on_whatever_the_split_eval_of_the_card_held(
        self, faces: Faces, known: Card
    ) -> None:
        found = faces.add("SG", 0.9).add("MJ", 0.9).judged(known)

        assert [(row.engine, row.in_training) for row in found.engines] == [("MJ", False), ("SG", True)]

    def test_the_papers_engines_pool_to_its_figure_and_their_mean_is_another(self, faces: Faces, known: Card) -> None:
        for name, (rate, parts) in PAPER.items():
            caught, missed = round(rate * 1000) * parts, round((1 - rate) * 1000) * parts
            faces.add(name, *[1.0] * caught, *[0.0] * missed)

        found = condition(faces.judged(known), "in-engine")

        assert found.tpr == pytest.approx(0.980, abs=0.0005)
        assert found.tpr_engine_mean == pytest.approx(0.976, abs=0.0005)

    def test_rates_come_with_wilsons_interval_f1_with_its_ratio_and_auc(self, faces: Faces, known: Card) -> None:
        found = engine(faces.add("SG", 0.95, 0.95, 0.95, 0.45).judged(known), "SG")

        assert (found.tpr, found.tpr_low, found.tpr_high) == (0.75, *limits(wilson(3, 4)))
        assert (found.f1, found.ratio) == pytest.approx((2 * 0.75 / (0.75 + 0.1 + 1), 1))
        assert found.auc == pytest.approx((3 + 0.5) / 4)


class TestThreshold:
    def test_it_is_set_on_the_held_out_reals_and_its_fpr_has_the_order_statistics_interval(
        self, faces: Faces, known: Card
    ) -> None:
        found = faces.add("camera", 1.0, 1.0, split="train").judged(known)

        assert found.threshold == pytest.approx(0.85)
        assert found.threshold_from == "manifest"
        assert (found.reals, found.flagged, found.fpr, found.target_fpr) == (10, 1, 0.1, 0.1)
        assert (found.fpr_low, found.fpr_high, found.fpr_interval) == (
            *limits(order_statistic_fpr(1, 10)),
            "order statistic",
        )

    def test_the_cards_meets_strangers_with_wilsons_interval(self, faces: Faces, known: Card) -> None:
        found = faces.judged(with_threshold(known, 0.65, reference=[0.5] * 10), EvaluationTerms(threshold="card"))

        assert (found.threshold, found.threshold_from, found.target_fpr) == (0.65, "card", 0.2)
        assert (found.flagged, found.fpr_low, found.fpr_high, found.fpr_interval) == (
            3,
            *limits(wilson(3, 10)),
            "wilson",
        )

    def test_the_cards_on_the_reals_that_it_was_set_on_has_the_order_statistics(
        self, faces: Faces, known: Card
    ) -> None:
        same = [score + 1e-5 for score in sorted(faces.scores)]

        found = faces.judged(with_threshold(known, 0.65, reference=same), EvaluationTerms(threshold="card"))

        assert (found.fpr_interval, found.fpr_low) == ("order statistic", order_statistic_fpr(3, 10).low)

    def test_a_card_without_one_is_named(self, faces: Faces, known: Card) -> None:
        with pytest.raises(CheckpointError, match="the card of 'small' has no threshold"):
            faces.judged(known, EvaluationTerms(threshold="card"))

    def test_without_held_out_reals_nothing_can_be_said(self, known: Card) -> None:
        with pytest.raises(ManifestError, match="no real pictures in split eval"):
            Faces().add("camera", 0.1, split="train").add("SG", 0.9).judged(known)


def with_threshold(card: Card, threshold: float, reference: list[float]) -> Card:
    quality = Quality(
        split="eval", target_fpr=0.2, threshold=threshold, measured_fpr=0.2, reals=len(reference), engines={}
    )
    known = Reference(name="eval reals", scores=tuple(reference))
    return card.model_copy(update={"quality": quality, "reference": known})


class TestTooFewReals:
    def test_it_says_so_and_what_can_be_shown(self, faces: Faces, known: Card) -> None:
        found = faces.judged(known)

        assert found.smallest_fpr == pytest.approx(0.3)
        assert found.warning == (
            "10 reals are too few to show an FPR of 0.1, which takes 30: they can show 0.3 at best"
        )

    @pytest.mark.parametrize(("target", "warned"), [(0.29, True), (0.3, False), (0.5, False)])
    def test_three_over_the_target_are_enough(self, target: float, warned: bool, faces: Faces, known: Card) -> None:
        assert (faces.judged(known, EvaluationTerms(target)).warning is not None) == warned

    def test_with_too_few_to_flag_even_one_none_is_flagged(self, faces: Faces, known: Card) -> None:
        found = faces.add("SG", 0.9, 0.91).judged(known, EvaluationTerms(target_fpr=0.05))

        assert (found.flagged, found.fpr, found.fpr_low) == (0, 0.0, 0.0)
        assert found.fpr_high == order_statistic_fpr(0, 10).high > 0.25
        assert engine(found, "SG").tpr == 0.5, "a fake may score above all reals"


@pytest.mark.parametrize("target", [0.0, 1.0, 5.0])
def test_a_target_that_is_no_rate_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        EvaluationTerms(target_fpr=target)


class TestCohorts:
    @pytest.fixture
    def groups(self) -> Faces:
        """Reals of two regions and of none; at 20 % the threshold flags the upper two."""
        faces = Faces().add("camera", 0.1, 0.2, 0.3, 0.9, region="north", id="a").add("SG", 1.0, region="north")
        faces.add("camera", 0.15, 0.95, region="south", id="b").add("camera", 1.0, split="train", region="west")
        return faces.add("camera", 0.1, 0.1, 0.1, region="", id="c").add("camera", 0.25, region="north", id="d")

    def test_the_worst_comes_first_of_the_held_out_reals_alone(self, groups: Faces, known: Card) -> None:
        found = groups.judged(known, EvaluationTerms(0.2, cohorts=("region",))).cohorts

        assert [(row.column, row.value, row.reals, row.flagged, row.fpr) for row in found] == [
            ("region", "south", 2, 1, 0.5),
            ("region", "north", 5, 1, 0.2),
            ("region", "(not given)", 3, 0, 0.0),
        ]
        assert (found[0].low, found[0].high) == limits(wilson(1, 2))

    def test_unasked_every_column_with_a_few_values_is_looked_at(self, groups: Faces, known: Card) -> None:
        more = {"same": "x"}
        groups.examples = [replace(e, columns=e.columns | more | {"photo": e.group}) for e in groups.examples]

        assert {row.column for row in groups.judged(known).cohorts} == {"region", "id"}
        assert len(groups.judged(known, EvaluationTerms(cohorts=("photo",))).cohorts) == 10

    def test_unasked_a_column_with_many_values_is_passed_over(self, groups: Faces, known: Card) -> None:
        groups.examples = [
            replace(e, columns={"few": str(n % 50), "many": str(n % 51)}) for n, e in enumerate(groups.examples * 15)
        ]
        groups.scores *= 15

        assert {row.column for row in groups.judged(known).cohorts} == {"few"}

    def test_an_unknown_column_is_named(self, groups: Faces, known: Card) -> None:
        with pytest.raises(ManifestError, match=r"no column country: it has id, region"):
            groups.judged(known, EvaluationTerms(cohorts=("region", "country")))


class TestWhatIsWritten:
    def test_scores_for_plots_are_ascending_and_rounded(self, faces: Faces, known: Card) -> None:
        faces.add("SG", 0.98765432, 0.5).add("SG", 0.25, content="nonface").add("MJ", 0.7, split="train")

        found = faces.judged(known).scores

        assert found["eval"]["real"] == tuple(number / 10 for number in range(10))
        assert found["eval"]["SG"] == (0.5, 0.987654)
        assert found["eval"]["SG (non-face)"] == (0.25,)
        assert found["train"] == {"real": (), "MJ": (0.7,)}

    def test_it_says_who_was_judged_on_what(self, faces: Faces, known: Card) -> None:
        found = faces.judged(known)

        assert (found.checkpoint, found.checkpoint_sha256, found.manifest_sha256) == ("small", "c" * 64, "d" * 64)

    def test_the_table_has_a_row_for_each_condition_engine_and_engine_left_out(self, faces: Faces, known: Card) -> None:
        found = faces.add("SG", 0.9).add("MJ", 0.1).judged(known)
        told = engine(found, "SG").model_dump() | {"kind": "engine", "name": "SG", "threshold": 0.5}
        fakes = (LeftOutRow.model_validate(told | {"empirical_tpr": 1.0}),)

        left_out = LeftOut(folds=2, target_fpr=0.005, fakes=fakes, reals=())
        rows = results_table(found.with_left_out(left_out))

        assert [(each["row"], each["name"], each["tpr"]) for each in rows] == [
            ("condition", "in-engine", 1.0),
            ("condition", "out-of-engine", 0.0),
            ("engine, out", "MJ", 0.0),
            ("engine, in", "SG", 1.0),
            ("family", "unknown", 0.5),
            ("source", "(not given)", 0.5),
            ("engine, left out", "SG", 1.0),
        ]
        assert len({tuple(each) for each in rows}) == 1, "one set of columns"


def test_an_evaluation_bounds_its_rate_and_states_the_certified_threshold(known: Card) -> None:
    faces = Faces().add("camera", *np.linspace(0, 0.9, 200)).add("SG", *np.linspace(0.5, 1, 100))

    found = faces.judged(known, EvaluationTerms(target_fpr=0.05))

    assert found.fpr_bound is not None
    assert found.fpr_bound > 0.05, "the empirical rule promises less than it says"
    assert found.certified is not None
    assert (found.certified.allowed, found.certifies_from) == (4, 59)
    assert found.certified.bound <= 0.05 < found.fpr_bound
    assert found.certified.tpr["SG"] < found.engines[0].tpr
    assert faces.judged(known, EvaluationTerms(target_fpr=0.005)).certified is None
