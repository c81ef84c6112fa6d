"""Panels draw the numbers they are given; nothing hides data."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.errors import CalmError
from calm.paper import plots
from calm.paper.plots.dots import distribution_panels
from calm.paper.plots.paired import paired_lines
from calm.paper.results import FINE_TUNED, Results

pytestmark = pytest.mark.usefixtures("drawing")


@pytest.fixture
def scores():
    levels = {("decay", ""): 0.2, ("CalM", "greedy"): 0.4, ("CalM", "mean of 4"): 0.6, ("ceiling", "known state"): 0.7}
    results = Results("simulation", seed=0)
    for (method, variant), level in levels.items():
        for session in range(3):
            names = {"split": "test", "session": f"s{session}", "method": method, "variant": variant}
            results.add("corr", level + 0.01 * session, item="fig3b", **names)
    return results.table("fig3b")


def test_bars_show_means_errors_sessions_and_ceilings(scores):
    _, axes = plt.subplots()
    plots.bars(axes, scores, ["CalM", "decay"], "correlation")
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.41, 0.61, 0.21])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["CalM\ngreedy", "CalM\nmean of 4", "decay"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [3, 3, 3]
    assert any(np.allclose(line.get_ydata(), 0.71) for line in axes.lines)
    assert "dots: n = 3 networks, 1 seed each" in axes.get_xlabel()


def test_the_chosen_variant_of_calm_stands_out(scores):
    _, axes = plt.subplots()
    plots.bars(axes, scores, ["decay", "CalM"], "correlation", chosen="mean of 4")
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.7, 0.4, 0.7])
    assert [bar.get_alpha() for bar in axes.patches] == [0.75, 0.3, 0.75]
    assert [bar.get_x() + bar.get_width() / 2 for bar in axes.patches] == pytest.approx([0, 1, 2])


def test_a_ceiling_has_one_style_whatever_stands_beside_it(scores):
    state = scores.query("method == 'ceiling'")
    rates = state.assign(variant="known rates", value=0.8)
    styles = []
    for table in (state, rates, pd.concat([state, rates]), pd.concat([rates, state])):
        _, axes = plt.subplots()
        plots.draw_ceilings(axes, table)
        styles += [(line.get_label(), line.get_linestyle()) for line in axes.lines]
    assert set(styles) == {("ceiling, known state", "--"), ("ceiling, known rates", ":")}


def test_bars_of_one_session_have_no_whiskers(scores):
    _, axes = plt.subplots()
    plots.bars(axes, scores[scores["session"] == "s0"], ["decay"], "correlation")
    assert axes.get_xlabel() == "n = 1 network, 1 seed"
    assert len(axes.patches) == 1


def test_bars_say_how_many_seeds_they_average_and_which_have_fewer_sessions(scores):
    again = scores.assign(seed=1, dataset="cohort")
    table = pd.concat([scores.assign(dataset="cohort"), again]).query("method != 'decay' or session != 's0'")
    _, axes = plt.subplots()
    plots.bars(axes, table, ["CalM", "decay"], "correlation")
    assert "n = 2 to 3 sessions, 2 seeds each" in axes.get_xlabel()
    assert [label.get_text()[-7:] for label in axes.get_xticklabels()] == ["(n = 3)", "(n = 3)", "(n = 2)"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [3, 3, 2]


def test_a_line_through_a_dot_is_the_range_of_its_trainings(scores):
    decay = scores.query("method == 'decay'")
    table = pd.concat([decay.assign(seed=seed, value=decay["value"] + 0.1 * seed) for seed in range(3)])
    _, axes = plt.subplots()
    plots.bars(axes, table, ["decay"], "correlation")
    (lines,) = [each for each in axes.collections if len(each.get_segments()) == 3]
    ranges = np.array([segment[:, 1] for segment in lines.get_segments()])
    np.testing.assert_allclose(ranges, decay["value"].to_numpy()[:, None] + [0, 0.2])


def test_a_method_without_results_is_named(scores):
    with pytest.raises(CalmError, match="POCO"):
        plots.bars(plt.subplots()[1], scores, ["CalM", "POCO"], "correlation")


def test_a_method_has_one_colour_and_methods_of_a_figure_differ():
    forecasting = ["CalM", FINE_TUNED, "POCO", "TCN", "PatchTST", "iTransformer", "continuous patches", "ridge VAR"]
    forecasting += ["persistence", "decay", "mean trial"]
    decoding = ["CalM", "POYO+", "TCN", "GLM", "RRR", "raw traces", "continuous patches", "ceiling"]
    for methods in (forecasting, decoding):
        assert len({plots.colour(method) for method in methods}) == len(methods)
    assert plots.colour("CalM, mean of 64") == plots.colour("CalM")


def test_forecasts_lie_behind_the_context():
    figure, axes = plt.subplots(2, 1)
    time, true = np.arange(10) * 0.2, np.random.default_rng(0).normal(size=(2, 10))
    samples = true[:, 6:] + np.arange(-9, 10)[:, None, None]
    plots.example_traces(list(axes), time, true, {"CalM": true[:, 6:]}, ["a", "b"], context=6, samples=samples)
    drawn = {line.get_label(): line for line in axes[1].lines}
    np.testing.assert_array_equal(drawn["CalM"].get_xdata(), time[6:])
    np.testing.assert_array_equal(drawn["CalM"].get_ydata(), true[1, 6:])
    np.testing.assert_array_equal(drawn["CalM, one rollout"].get_ydata(), true[1, 6:] - 9)
    names = ["context", "true", "50 % of rollouts", "90 % of rollouts", "CalM, one rollout", "CalM"]
    assert [text.get_text() for text in figure.legends[0].texts] == names
    for band, half in zip(axes[1].collections, (5, 9), strict=True):
        edges = band.get_paths()[0].vertices[:, 1]
        assert [edges.min(), edges.max()] == pytest.approx([true[1, 6:].min() - half, true[1, 6:].max() + half])


def test_the_score_of_each_series_is_written_beside_it_in_the_colour_of_its_method():
    _, axes = plt.subplots(2, 1)
    true = np.random.default_rng(0).normal(size=(2, 10))
    series = {"CalM": -true[:, 6:], "POCO": true[:, 6:9] + 1}  # of fewer frames
    plots.example_traces(list(axes), np.arange(10.0), true, series, ["a", "b"], context=6, score="r")
    for panel in axes:
        written = [(text.get_text(), text.get_color()) for text in panel.texts]
        assert written == [("r", "black"), ("-1.00", plots.colour("CalM")), ("1.00", plots.colour("POCO"))]


def test_paired_lines_join_what_a_session_had_before_with_what_it_has_after():
    results = Results("cohort", seed=0)
    for session, (before, after) in {"a": (0.1, 0.4), "b": (0.3, 0.2)}.items():
        for variant, value in {"untrained": before, "adapted": after}.items():
            results.add("corr", value, item="adaptation", session=session, method="CalM", variant=variant)
        results.add("corr", 0.05, item="adaptation", session=session, method="decay")
        results.add("corr", 0.9, item="adaptation", session=session, method="ceiling", variant="known state")
    _, axes = plt.subplots()
    ends = {"before": ("CalM", "untrained"), "after": ("CalM", "adapted")}
    paired_lines(axes, results.table("adaptation").sample(frac=1, random_state=0), ends, "r")
    drawn = [line.get_ydata() for line in axes.lines]
    expected = [[0.1, 0.4], [0.3, 0.2], [0.2, 0.3], [0.05, 0.05], [0.9, 0.9]]
    np.testing.assert_allclose(drawn, expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["before", "after"]
    assert axes.get_xlabel() == "thin: each by itself, thick: mean\nn = 2 sessions, 1 seed each"


def test_the_loss_of_a_guess_that_knows_nothing_is_a_line_across_the_loss():
    _, axes = plt.subplots()
    history = pd.DataFrame({"step": [10, 20], "loss": [4.0, 3.0], "val": [0.1, 0.2]})
    plots.loss_curves(axes, history, "r", uniform=np.log(128))
    loss, guess = axes.lines
    assert loss.get_ydata().tolist() == [4.0, 3.0]
    assert guess.get_ydata() == pytest.approx([np.log(128)] * 2)
    plots.loss_curves(plt.figure().subplots(), history, "r")  # where there is no such guess


@pytest.fixture
def fading():
    """Two sessions, four lines, twenty moments; one stops after ten."""
    results = Results("cohort", seed=0)
    levels = {("CalM", "expected"): 0.7, ("ridge VAR", ""): 0.6, ("POCO", ""): 0.5, ("ceiling", "known state"): 0.9}
    for (method, variant), level in levels.items():
        lags = np.arange(1, 11 if method == "POCO" else 21)
        for session in (0, 1):
            where = {"session": f"s{session}", "method": method, "variant": variant, "n": 30 - lags}
            values = np.full(len(lags), level + 0.1 * session)
            results.add_each("corr over trials", values, item="fig3b_fading", seconds=0.2 * lags, **where)
    return results.table("fig3b_fading")


def test_fading_is_drawn_as_the_mean_over_sessions_with_its_error(fading):
    _, axes = plt.subplots()
    plots.fading(axes, fading)
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["CalM, expected"].get_ydata(), 0.75)
    np.testing.assert_allclose(lines["CalM, expected"].get_xdata(), 0.2 * np.arange(1, 21))
    assert lines["ceiling, known state"].get_linestyle() == "--" != lines["CalM, expected"].get_linestyle()
    assert lines["ridge VAR"].is_dashed() and not lines["CalM, expected"].is_dashed()
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.7, 0.8))  # s.e.m. of 0.7 and 0.8 about 0.75
    assert "n = 2 sessions" in axes.get_xlabel()
    again = plt.subplots()[1]
    plots.fading(again, pd.concat([fading, fading.assign(seed=1)]))
    np.testing.assert_allclose(
        again.collections[0].get_paths()[0].vertices, axes.collections[0].get_paths()[0].vertices
    )


def test_a_joined_legend_of_many_lines_stays_within_the_page(fading):
    names = ["decay", "mean trial", "ridge VAR", "POCO", "continuous patches", "CalM", "ceiling"]
    line = fading[fading["method"] == "CalM"]
    with plt.rc_context():
        plots.use_style()
        figure, axes = plt.subplots(1, 2, figsize=(plots.PAGE, 3))
        for panel in axes:
            plots.fading(panel, pd.concat([line.assign(method=name, variant="known state") for name in names]))
        plots.join_legends(list(axes))
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
    assert [text.get_text().split(",")[0] for text in legend.get_texts()] == names
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width and axes[0].get_legend() is None


def test_sessions_whose_frames_differ_in_length_are_averaged_frame_by_frame(fading):
    _, axes = plt.subplots()
    slower = fading["session"] == "s1"
    plots.fading(axes, fading.assign(seconds=fading["seconds"].where(~slower, 1.01 * fading["seconds"])))
    line = next(line for line in axes.lines if line.get_label() == "CalM, expected")
    np.testing.assert_allclose(line.get_ydata(), [0.75] * 20)
    np.testing.assert_allclose(line.get_xdata(), 1.005 * 0.2 * np.arange(1, 21))


def test_a_line_that_stops_early_ends_in_a_dot(fading):
    _, axes = plt.subplots()
    plots.fading(axes, fading)
    (dot,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == pytest.approx((2.0, 0.55))


def test_trials_left_are_those_of_all_sessions(fading):
    _, axes = plt.subplots()
    plots.trials_left(axes, fading)
    assert axes.dataLim.y1 == 2 * 29


def test_distributions_are_drawn_with_sessions_errors_and_the_nominal_coverage():
    results = Results("cohort", seed=0)
    for (method, variant), crps in {("POCO", "residuals"): 0.5, ("CalM", "sampled"): 0.4}.items():
        for session in range(3):
            where = {"item": "x", "session": f"s{session}", "method": method, "variant": variant}
            for metric, value in {"crps": crps, "coverage 50": 0.4, "coverage 90": 0.8}.items():
                results.add(metric, value + 0.01 * session, **where)
    _, axes = plt.subplots(1, 3)
    distribution_panels(list(axes), results.table("x"))
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["POCO, residuals", "CalM, sampled"]
    assert [panel.containers[1].lines[0].get_xdata()[0] for panel in axes] == pytest.approx([0.41, 0.41, 0.81])
    nominal = [[line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == "--"] for panel in axes]
    assert nominal == [[], [0.5], [0.9]]
    assert "n = 3 sessions" in axes[1].get_xlabel()
