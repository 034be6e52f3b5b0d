"""The page: all in one file, every name harmless, every number that of the JSON, readable without a sweep."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainer.data.manifest import Example
from trainer.detector.card import KEY, Card
from trainer.errors import TrainerError
from trainer.judging.evaluate import EvaluationTerms, evaluate
from trainer.judging.results import Evaluation, LeftOut, LeftOutRow, RealSourceRow, Robustness, RobustnessRow
from trainer.report.page import flag_precisions, odds, percent, report_files

REFIT = {"kind": "engine", "threshold": 0.9, "empirical_tpr": 0.5}
HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x.png>"


class Tags(HTMLParser):
    """Every tag of a page, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def checkpoint_at(path: Path, card: Card) -> str:
    """A file that carries this card, and its digest."""
    save_file({"head.x": np.zeros(1, np.float32)}, path, metadata={KEY: card.json_text()})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judged(card: Card, sha256: str, engines: tuple[str, ...] = ("stylegan2", HOSTILE)) -> Evaluation:
    random = np.random.default_rng(0)
    examples, scores = [], []
    for engine, middle, count in [("camera", -3, 800), *((name, 2 - 2 * i, 60) for i, name in enumerate(engines))]:
        for number in range(count):
            columns = {"country": HOSTILE if number % 7 else "Chad"} if engine == "camera" else {}
            path = Path(f"{engine}{number}")
            examples.append(Example(path, engine != "camera", engine, "eval", str(path), "0" * 64, columns))
        scores.append(1 / (1 + np.exp(-random.normal(middle, 1.5, count))))
    terms = EvaluationTerms(target_fpr=0.005)
    return evaluate(examples, np.concatenate(scores), card, terms, checkpoint_sha256=sha256, manifest_sha256="1" * 64)


def swept(sha256: str) -> Robustness:
    steps = [("native", 0, 0.7), ("resize", 64, 0.31), ("jpeg", 20, 0.42), ("mirror", 0, 0.69), ("flip", 0, 0.234)]
    rows = [
        RobustnessRow.model_validate(
            {"kind": kind, "level": level, "engine": engine, "tpr": tpr, "fpr": 0.005, "refitted_tpr": tpr, "n": 60}
        )
        for kind, level, tpr in steps
        for engine in ("all", HOSTILE, "stylegan2")
    ]
    return Robustness(
        checkpoint_sha256=sha256, split="eval", target_fpr=0.005, threshold=0.9, reals=800, rows=tuple(rows)
    )


@pytest.fixture(scope="module")
def card() -> Card:
    """The shipped model's card, with names that nobody should trust."""
    shipped = Card.read(Path(__file__).parents[4] / "trainer" / "pretrained" / "lite1-research.safetensors")
    counts = {"train": {"camera": 1509, "stylegan2": 611, HOSTILE: 5}}
    return shipped.model_copy(
        update={"name": HOSTILE, "licence": HOSTILE, "data": shipped.data.model_copy(update={"counts": counts})}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, card: Card) -> Path:
    """A checkpoint, its evaluation and sweep, and the report on them."""
    folder = tmp_path_factory.mktemp("report")
    sha256 = checkpoint_at(folder / "c.safetensors", card)
    judged(card, sha256, ("stylegan2", "unseen " + HOSTILE)).write(folder / "metrics.json")
    swept(sha256).write(folder / "robustness.json")
    report_files(folder / "c.safetensors", folder / "metrics.json", folder / "robustness.json", folder / "out")
    return folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "out" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> Evaluation:
    return Evaluation.read(folder / "metrics.json")


class TestOneFile:
    def test_it_loads_nothing_and_runs_nothing(self, html: str) -> None:
        tags = Tags(html)

        assert not {"script", "link", "iframe", "object", "form", "a"} & {tag for tag, _ in tags.found}
        assert all((image["src"] or "").startswith("data:image/png;base64,") for image in tags.named("img"))
        assert not [key for _, attributes in tags.found for key in attributes if key.startswith("on")]
        assert "@import" not in html
        assert "url(" not in html

    def test_browsers_are_told_to_load_nothing_either(self, html: str) -> None:
        policies = [meta.get("content") for meta in Tags(html).named("meta") if "http-equiv" in meta]

        assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]

    def test_its_pictures_are_those_beside_it_and_say_what_they_show(self, html: str, folder: Path) -> None:
        images = Tags(html).named("img")

        shown = {base64.b64decode((image["src"] or "").split(",")[1]) for image in images}
        assert shown == {path.read_bytes() for path in (folder / "out").glob("*.png")}
        assert len(shown) == 5
        assert all(len(image["alt"] or "") > 20 for image in images)

    def test_it_reads_in_the_light_and_in_the_dark(self, html: str) -> None:
        assert "prefers-color-scheme: dark" in html


class TestNames:
    def test_hostile_names_are_shown_and_do_nothing(self, html: str) -> None:
        assert "evil.example" in html
        assert "<script" not in html
        assert "<img src=http" not in html
        assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html


class TestNumbers:
    def test_every_engine_has_its_rate_and_interval(self, html: str, evaluation: Evaluation) -> None:
        text = re.sub(r"<[^>]+>", "", html)

        assert len(evaluation.engines) == 2
        for row in evaluation.engines:
            assert f"{percent(row.tpr)} ({percent(row.tpr_low)} to {percent(row.tpr_high)})" in text
            assert f"{row.auc:.3f}" in text

    def test_the_false_positive_rate_is_told_with_its_interval(self, html: str, evaluation: Evaluation) -> None:
        text = re.sub(r"<[^>]+>", "", html)

        rate = f"{percent(evaluation.fpr)} ({percent(evaluation.fpr_low)} to {percent(evaluation.fpr_high)})"
        assert f"{evaluation.flagged} of {evaluation.reals} real photos are flagged by mistake: {rate}" in text

    def test_cohorts_come_worst_first(self, html: str, evaluation: Evaluation) -> None:
        rows = [f'<td>{row.flagged}</td><td><span class="rate">{percent(row.fpr)}' for row in evaluation.cohorts]
        places = [html.index(row) for row in rows]

        assert len(rows) == 2
        assert places == sorted(places)
        assert [c.fpr for c in evaluation.cohorts] == sorted((c.fpr for c in evaluation.cohorts), reverse=True)

    def test_the_sweep_is_told_step_by_step_with_intervals(self, html: str) -> None:
        rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*</tr>", html)]
        told = {row[0]: " ".join(row[1:]) for row in rows if row}

        assert re.fullmatch(
            r"23.4 % \(\S+ % to \S+ %\) 0.50 % \(\S+ % to \S+ %\) 23.4 % \(\S+ % to \S+ %\)", told["upside-down"]
        )
        assert told["longer"].startswith("side 64 pixels 31.0 % (")
        assert told["JPEG"].startswith("quality 20 42.0 % (")

    def test_the_card_is_there_in_full(self, html: str, card: Card) -> None:
        for value in (card.data.manifest_sha256, card.backbone.sha256, card.preprocess, *card.versions.values()):
            assert value in html
        assert "<td>1,509</td>" in html
        assert "learning rate" in html

    def test_what_a_flag_means_follows_from_the_rates(self, html: str, evaluation: Evaluation) -> None:
        told = flag_precisions(evaluation)

        assert [meaning.prevalence for meaning in told] == 2 * [0.0005, 0.001, 0.01]
        for meaning in told:
            assert meaning.low < meaning.precision < meaning.high
            assert f"{percent(meaning.precision)}</span> <span" in html


class TestUnknownEngines:
    def test_the_worst_of_those_that_were_left_out_is_among_the_first_things_told(
        self, folder: Path, evaluation: Evaluation, tmp_path: Path
    ) -> None:
        rows = [
            LeftOutRow.model_validate(evaluation.engines[0].model_dump() | {"name": name, "tpr": tpr} | REFIT)
            for name, tpr in (("one", 0.4), ("other", 0.013))
        ]
        reals = (RealSourceRow(source="a site", reals=90, flagged=9, fpr=0.1, fpr_low=0.05, fpr_high=0.2),)
        left_out = LeftOut(folds=2, target_fpr=0.005, fakes=tuple(rows), reals=reals)
        evaluation.with_left_out(left_out).write(tmp_path / "metrics.json")

        page = report_files(folder / "c.safetensors", tmp_path / "metrics.json", None, tmp_path / "out").read_text()

        in_short = page[page.index("<h2>Summary") : page.index("What this model is")]
        assert "<td><bdi>a site</bdi></td><td>90</td><td>9</td>" in page
        assert 'fitted without the engine <bdi>other</bdi>, it finds <span class="rate">1.3 %</span>' in in_short


class TestOtherInput:
    def test_without_a_sweep_the_page_says_so(self, folder: Path, tmp_path: Path) -> None:
        path = report_files(folder / "c.safetensors", folder / "metrics.json", None, tmp_path / "out")

        assert "Not measured: run <code>unmask robustness</code>" in path.read_text()
        assert {one.name for one in tmp_path.joinpath("out").iterdir()} == {
            "index.html",
            "engines.png",
            "roc.png",
            "histograms.png",
        }

    @pytest.mark.parametrize("other", ["metrics.json", "robustness.json"])
    def test_figures_of_another_checkpoint_are_refused(
        self, other: str, folder: Path, card: Card, tmp_path: Path
    ) -> None:
        judged(card, "f" * 64).write(tmp_path / "metrics.json")
        swept("f" * 64).write(tmp_path / "robustness.json")
        files = {name: folder / name for name in ("metrics.json", "robustness.json")} | {other: tmp_path / other}

        with pytest.raises(TrainerError, match=f"is of a checkpoint with SHA-256 {'f' * 64}"):
            report_files(folder / "c.safetensors", files["metrics.json"], files["robustness.json"], tmp_path / "out")

        assert not (tmp_path / "out").exists()

    def test_an_evaluation_without_fakes_is_refused(self, folder: Path, card: Card, tmp_path: Path) -> None:
        sha256 = hashlib.sha256((folder / "c.safetensors").read_bytes()).hexdigest()
        judged(card, sha256, ()).write(tmp_path / "metrics.json")

        with pytest.raises(TrainerError, match="no AI-generated faces"):
            report_files(folder / "c.safetensors", tmp_path / "metrics.json", None, tmp_path / "out")

    def test_a_file_that_is_no_sweep_is_named(self, folder: Path) -> None:
        with pytest.raises(TrainerError, match=r"metrics\.json is not a valid robustness result: \d+ fields are wrong"):
            report_files(folder / "c.safetensors", folder / "metrics.json", folder / "metrics.json", folder / "out")


@pytest.mark.parametrize(
    ("share", "told"), [(0, "0.0 %"), (0.00497, "0.50 %"), (0.01, "1.0 %"), (0.845, "84.5 %"), (1, "100.0 %")]
)
def test_rates_are_told_with_the_figures_that_matter(share: float, told: str) -> None:
    assert percent(share) == told


def test_odds_are_told_as_one_in_so_many() -> None:
    assert [odds(share) for share in (0.005, 0.00001, 0)] == ["1 in 200", "1 in 100,000", "none"]
