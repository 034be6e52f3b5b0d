"""Pictures: PNGs of the size that pages want, with the data in them, and titles that say what they show."""

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from trainer.report import plots
from trainer.report.plots import EngineBar, LearningCurve, RobustnessLine, ScoreSample

#: A name that matplotlib would read as a formula, hide from legends, break lines at, or have no letters for.
HOSTILE = "_$\\frac{1}{0}$\n漢字 " + "x" * 100


def spread(name: str, middle: float, flagged: float, count: int = 300) -> ScoreSample:
    logits = np.random.default_rng(len(name)).normal(middle, 1.5, count)
    return ScoreSample(name, np.sort(1 / (1 + np.exp(-logits))), flagged)


REALS = spread("real photos", -3, 0.005, 1000)
ENGINES = [spread("stylegan2", 3, 0.73), spread("midjourney", 0, 0.19)]
BARS = [EngineBar("stylegan2", 0.73, 0.68, 0.77, 393, True), EngineBar("midjourney", 0.19, 0.15, 0.24, 300, False)]  # noqa: FBT003
LINES = [
    RobustnessLine("all engines", (0, 256, 64), (0.8, 0.6, 0.25), (0.8, 0.7, 0.35), bold=True),
    RobustnessLine("stylegan2", (0, 256, 64), (0.9, 0.7, 0.3), (0.9, 0.8, 0.4)),
]

CURVE = LearningCurve(
    tuple(np.linspace(0.7, 0.1, 1000).tolist()), (250, 500, 750, 1000), (0.5, 0.4, 0.3, 0.35), (0.8, 0.9, 0.95, 0.94)
)

DRAWINGS: dict[str, Callable[[], Figure]] = {
    "roc": lambda: plots.roc_plot(REALS, ENGINES, 0.005),
    "histograms": lambda: plots.histogram_plot(REALS, ENGINES, 0.9),
    "bars": lambda: plots.engine_plot(BARS, "1 wrong flag in 200 real photos"),
    "sweep": lambda: plots.robustness_plot("resize", LINES, (0.005, 0.01, 0.02), 0.005),
    "learning": lambda: plots.learning_plot(CURVE),
}


def title(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


def texts(figure: Figure) -> str:
    found = figure.findobj(mpl.text.Text)
    return "\n".join(text.get_text() for text in found if isinstance(text, mpl.text.Text))


def outside(figure: Figure) -> list[str]:
    """The texts that the picture's borders cut off."""
    figure.set_dpi(200)  # that of the file: boxes are in its pixels
    plots.png(figure)  # a layout that collapses would warn, and warnings are errors
    found = [text for text in figure.findobj(mpl.text.Text) if isinstance(text, mpl.text.Text) and text.get_text()]
    width, height = figure.bbox.width, figure.bbox.height
    beyond = {"−20 %", "120 %"}  # noqa: RUF001 - labels beyond the axis: matplotlib has them, and draws none
    shown = [text for text in found if text.get_visible() and text.get_text() not in beyond]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    return [name for name, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


@pytest.fixture(scope="module", params=DRAWINGS)
def drawing(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """Each picture's name, and its PNG: drawing takes a second."""
    return request.param, plots.png(DRAWINGS[request.param]())


class TestEveryPicture:
    def test_it_is_a_png_twice_as_wide_as_it_is_shown(self, drawing: tuple[str, bytes]) -> None:
        image = Image.open(io.BytesIO(drawing[1]))

        assert (image.format, image.width) == ("PNG", 1800)
        assert 500 < image.height < 1300

    def test_it_has_ink_on_white(self, drawing: tuple[str, bytes]) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(drawing[1])).convert("L"))

        assert (pixels[0] == 255).all()
        assert 0.01 < (pixels < 200).mean() < 0.5

    def test_drawn_again_it_is_the_same_bytes_and_changes_no_setting(self, drawing: tuple[str, bytes]) -> None:
        before = dict(mpl.rcParams)

        assert plots.png(DRAWINGS[drawing[0]]()) == drawing[1]
        assert dict(mpl.rcParams) == before


class TestRoc:
    def test_its_axis_is_logarithmic_and_the_target_is_marked(self) -> None:
        (axes,) = plots.roc_plot(REALS, ENGINES, 0.005).axes

        assert axes.get_xscale() == "log"
        assert [0.005, 0.005] in [list(np.asarray(line.get_xdata())) for line in axes.lines]
        assert "1 in 200\n(0.5 %)" in [label.get_text() for label in axes.get_xticklabels()]

    def test_its_lines_are_the_rates_at_every_threshold(self) -> None:
        reals = ScoreSample("real photos", np.array([0.1, 0.2, 0.3, 0.6]), 0.25)
        fakes = ScoreSample("stylegan2", np.array([0.15, 0.4, 0.7, 0.8]), 0.5)

        (axes,) = plots.roc_plot(reals, [fakes], 0.25).axes

        drawn = axes.lines[0].get_xydata()
        assert np.asarray(drawn).tolist() == [[0, 0.5], [0.25, 0.75], [0.5, 0.75], [0.75, 1], [1, 1]]

    def test_each_engine_is_named_with_what_is_found_best_first(self) -> None:
        legend = plots.roc_plot(REALS, ENGINES, 0.005).axes[0].get_legend()

        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["73 %  stylegan2", "19 %  midjourney"]

    def test_its_title_says_what_is_found_and_what_more_would_cost(self) -> None:
        told = title(plots.roc_plot(REALS, ENGINES, 0.005))

        assert told.startswith(
            "At 1 wrong flag in 200 real photos, 46 % of AI-generated faces are found; 1 in 20 would"
        )

    @pytest.mark.parametrize("reals", [18, 1000])
    def test_its_labels_are_inside_the_picture_where_no_real_is_flagged(self, reals: int) -> None:
        figure = plots.roc_plot(spread("real photos", -3, 0.0, reals), ENGINES, 0.005)

        assert outside(figure) == []

    def test_a_legend_of_many_engines_hides_no_line(self) -> None:
        many = [spread(f"engine {number:02}", 2, 0.5, 50) for number in range(20)]

        figure = plots.roc_plot(REALS, many, 0.005)

        assert outside(figure) == []
        (legend,) = figure.legends
        assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())

    @pytest.mark.parametrize("target", [0.005, 0.02, 0.0001])
    def test_labels_of_its_axis_do_not_overlap(self, target: float) -> None:
        figure = plots.roc_plot(spread("real photos", -3, target, 13750), ENGINES, target)
        plots.png(figure)

        boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
        boxes.sort(key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


class TestHistograms:
    @pytest.mark.parametrize("top", [0.1234567, 0.99999999, 1.0, 1e-9])
    @pytest.mark.parametrize("flagged", [0, 1])
    def test_as_many_are_drawn_as_flagged_as_are_told(self, flagged: int, top: float) -> None:
        """The highest real is next to the threshold, where rounding moves scores across."""
        scores = np.sort(np.append(np.linspace(0, top / 2, 17), round(top, 6)))
        threshold = top - 1e-12 if flagged else float(np.nextafter(top, 2))

        rows = plots.histogram_plot(ScoreSample("real photos", scores, flagged / 18), ENGINES, threshold).axes

        bars = [bar for bar in rows[0].patches if isinstance(bar, mpl.patches.Rectangle)]
        assert sum(bar.get_height() for bar in bars if bar.get_alpha() == 1) == flagged
        assert sum(bar.get_height() for bar in bars) == 18

    def test_every_score_is_drawn_once(self) -> None:
        extremes = ScoreSample("stylegan2", np.array([0.0, 1e-9, 0.5, 0.9, 1 - 1e-9, 1.0]), 0.5)

        rows = plots.histogram_plot(REALS, [extremes], 0.9).axes

        drawn = [
            sum(bar.get_height() for bar in axes.patches if isinstance(bar, mpl.patches.Rectangle)) for axes in rows
        ]
        assert drawn == [1000, 6]

    def test_what_is_flagged_is_told_by_its_colour(self) -> None:
        scores = ScoreSample("stylegan2", np.array([0.2, 0.899, 0.9, 0.95]), 0.5)

        axes = plots.histogram_plot(REALS, [scores], 0.9).axes[1]

        bars = [bar for bar in axes.patches if isinstance(bar, mpl.patches.Rectangle)]
        assert sum(bar.get_height() for bar in bars if bar.get_alpha() == 1) == 2

    def test_its_title_gives_the_threshold_and_both_rates(self) -> None:
        told = title(plots.histogram_plot(REALS, ENGINES, 0.9))

        assert told == "The threshold of 0.9 flags 0.5 % of real photos and 19 % to 73 % of an engine's faces"


class TestBars:
    def test_intervals_and_counts_are_written_beside_their_engine(self) -> None:
        told = texts(plots.engine_plot(BARS, "1 wrong flag in 200 real photos"))

        assert "73 %  (68 to 77 %), n = 393" in told
        assert "19 %  (15 to 24 %), n = 300" in told

    def test_intervals_are_drawn_to_scale_and_unseen_engines_hollow(self) -> None:
        (axes,) = plots.engine_plot(BARS, "").axes

        intervals = [list(np.asarray(line.get_xdata())) for line in axes.lines if line.get_marker() == "None"]
        faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
        assert intervals == [[0.15, 0.24], [0.68, 0.77]]
        assert faces[0] == "white"
        assert faces[1] != "white"

    def test_its_title_names_the_best_and_the_worst(self) -> None:
        told = title(plots.engine_plot(BARS, "1 wrong flag in 200 real photos"))

        assert (
            told == "At 1 wrong flag in 200 real photos, 73 % of stylegan2 faces are found, but only 19 % of midjourney"
        )

    def test_one_engine_is_no_contest(self) -> None:
        assert "but only" not in title(plots.engine_plot(BARS[:1], "1 wrong flag in 200 real photos"))


class TestSweep:
    def test_one_panel_keeps_the_threshold_and_the_other_refits_it(self) -> None:
        kept, refitted = plots.robustness_plot("resize", LINES, (0.005, 0.01, 0.02), 0.005).axes

        assert list(np.asarray(kept.lines[0].get_ydata())) == [0.8, 0.6, 0.25]
        assert list(np.asarray(refitted.lines[0].get_ydata())) == [0.8, 0.7, 0.35]

    def test_wrong_flags_are_drawn_where_the_threshold_is_kept(self) -> None:
        kept, refitted = plots.robustness_plot("jpeg", LINES, (0.005, 0.01, 0.02), 0.005).axes

        assert [0.005, 0.01, 0.02] in [list(np.asarray(line.get_ydata())) for line in kept.lines]
        assert len(refitted.lines) == len(LINES)

    def test_its_title_says_what_is_lost(self) -> None:
        told = title(plots.robustness_plot("resize", LINES, (0.005, 0.01, 0.02), 0.005))

        assert told.startswith("Scaled down to 64 pixels, 25 % of AI-generated faces are found instead of 80 %")
        assert "35 % when refitted" in told

    def test_intervals_of_all_engines_and_of_wrong_flags_are_drawn(self) -> None:
        limits, wrong = ((0.7, 0.9), (0.5, 0.7), (0.2, 0.3)), ((0, 0.1), (0.05, 0.2), (0.1, 0.3))
        bold = replace(LINES[0], kept_intervals=limits, refitted_intervals=limits)

        kept, refitted = plots.robustness_plot("resize", [bold, LINES[1]], (0, 0.1, 0.2), 0.005, wrong).axes

        assert [len(panel.collections) for panel in (kept, refitted)] == [1, 1]
        upright = [line for line in kept.lines if len(set(np.asarray(line.get_xdata()).tolist())) == 1]
        assert tuple(tuple(np.asarray(line.get_ydata()).tolist()) for line in upright) == wrong


class TestLearning:
    def test_the_lowest_loss_of_watched_pictures_is_marked_and_told(self) -> None:
        figure = plots.learning_plot(CURVE)

        assert title(figure) == (
            "The loss of watched pictures was lowest after 750 of 1,000 steps: AUC 0.950; more steps did not help"
        )
        assert all([750, 750] in [list(np.asarray(line.get_xdata())) for line in axes.lines] for axes in figure.axes)

    def test_a_loss_that_still_falls_asks_for_more_steps(self) -> None:
        falling = replace(CURVE, watched_losses=(0.5, 0.4, 0.3, 0.2))

        assert title(plots.learning_plot(falling)).endswith("after 1,000 steps: AUC 0.940; more steps may help")

    @pytest.mark.parametrize("steps", [1, 300])
    def test_without_watched_pictures_it_is_the_training_loss_alone(self, steps: int) -> None:
        figure = plots.learning_plot(LearningCurve((0.5,) * steps))

        plots.png(figure)
        assert len(figure.axes) == 1
        assert title(figure) == f"The training loss was 0.5 after {steps} steps"


class TestNames:
    @pytest.mark.parametrize("name", ["", "   ", "\n"])
    def test_an_engine_without_a_name_is_told_so(self, name: str) -> None:
        assert plots.drawable_name(name) == "(no name)"

    def test_names_from_manifests_are_drawn_as_text_and_never_read(self) -> None:
        figures = [
            plots.roc_plot(REALS, [ScoreSample(HOSTILE, REALS.scores, 0.1)], 0.005),
            plots.engine_plot([EngineBar(HOSTILE, 0.5, 0.4, 0.6, 10, in_training=True)], "no wrong flag"),
            plots.robustness_plot(
                "jpeg", [*LINES, RobustnessLine(HOSTILE, (0, 80), (0.5, 0.4), (0.5, 0.4))], (0, 0, 0), 0.005
            ),
        ]

        for figure in figures:
            plots.png(figure)  # a formula or a missing letter would warn, and warnings are errors
            assert r"_$\frac{1}{0}$ ??" in texts(figure)

    def test_long_names_are_cut(self) -> None:
        assert len(plots.drawable_name(HOSTILE)) == 28
        assert plots.drawable_name("stable-diffusion-2.1") == "stable-diffusion-2.1"

    def test_an_engine_has_one_colour_in_every_picture(self) -> None:
        legend = plots.roc_plot(REALS, ENGINES, 0.005).axes[0]
        lines = {line.get_color() for line in legend.lines if list(np.asarray(line.get_ydata()))[:1] == [0.73]}
        bars = plots.engine_plot(BARS, "").axes[0]
        dots = {line.get_color() for line in bars.lines if list(np.asarray(line.get_xdata())) == [0.73]}

        assert lines == dots

    def test_more_engines_than_colours_are_told_apart_by_markers(self) -> None:
        looks = plots.line_styles([f"engine {number:02}" for number in range(30)])

        assert len(set(looks.values())) == 30


@pytest.mark.parametrize(
    ("fpr", "reals", "told"),
    [
        (0.00497, 1006, "1 wrong flag in 200 real photos"),
        (0.005, 13750, "1 wrong flag in 200 real photos"),
        (0.02, 1000, "1 wrong flag in 50 real photos"),
        (0.0, 100, "no wrong flag in 100 real photos"),
    ],
)
def test_titles_promise_no_better_rate_than_was_measured(fpr: float, reals: int, told: str) -> None:
    assert plots.fpr_in_words(fpr, reals, 0.005) == told
