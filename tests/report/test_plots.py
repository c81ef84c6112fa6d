"""Panels draw the numbers they are given; nothing hides data."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.errors import CalmError
from calm.paper import plots
from calm.paper.results import Results

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
    assert "n = 3 sessions" in axes.get_xlabel()


def test_bars_of_one_session_have_no_whiskers(scores):
    _, axes = plt.subplots()
    plots.bars(axes, scores[scores["session"] == "s0"], ["decay"], "correlation")
    assert axes.get_xlabel() == "n = 1 session"
    assert len(axes.patches) == 1


def test_a_method_without_results_is_named(scores):
    with pytest.raises(CalmError, match="POCO"):
        plots.bars(plt.subplots()[1], scores, ["CalM", "POCO"], "correlation")


def test_a_method_has_one_colour_and_methods_of_a_figure_differ():
    forecasting = ["CalM", "POCO", "TCN", "PatchTST", "iTransformer", "continuous patches", "ridge VAR"]
    forecasting += ["persistence", "decay", "mean trial"]
    decoding = ["CalM", "POYO+", "TCN", "GLM", "RRR"]
    for methods in (forecasting, decoding):
        assert len({plots.colour(method) for method in methods}) == len(methods)
    assert plots.colour("CalM, mean of 64") == plots.colour("CalM")


def test_forecasts_lie_behind_the_context():
    figure, axes = plt.subplots(2, 1)
    time, true = np.arange(10) * 0.2, np.random.default_rng(0).normal(size=(2, 10))
    band = (true[:, 6:] - 1, true[:, 6:] + 1)
    plots.example_traces(list(axes), time, true, {"CalM": true[:, 6:]}, ["a", "b"], context=6, band=band)
    drawn = {line.get_label(): line for line in axes[1].lines}
    np.testing.assert_array_equal(drawn["CalM"].get_xdata(), time[6:])
    np.testing.assert_array_equal(drawn["CalM"].get_ydata(), true[1, 6:])
    assert [text.get_text() for text in figure.legends[0].texts] == ["context", "true", "80 % of samples", "CalM"]


def test_codebook_usage_counts_codes_and_sums_to_all_tokens():
    _, axes = plt.subplots()
    plots.codebook_usage(axes, np.array([0, 30, 10, 60]))
    assert [bar.get_height() for bar in axes.patches] == [60, 30, 10, 0]
    assert "3 of 4 in use" in axes.get_xlabel()


@pytest.fixture
def fading():
    """Two sessions, three lines, twenty moments."""
    levels = [("CalM", "expected", 0.7), ("ridge VAR", "", 0.6), ("ceiling", "known state", 0.9)]
    return pd.DataFrame(
        [
            {
                "session": session,
                "method": method,
                "variant": variant,
                "seconds": 0.2 * lag,
                "value": level + 0.1 * session,
            }
            for method, variant, level in levels
            for session in (0, 1)
            for lag in range(1, 21)
        ]
    )


def test_fading_is_drawn_as_the_mean_over_sessions(fading):
    _, axes = plt.subplots()
    plots.fading(axes, fading)
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["CalM, expected"].get_ydata(), 0.75)
    np.testing.assert_allclose(lines["CalM, expected"].get_xdata(), 0.2 * np.arange(1, 21))
    assert lines["ceiling, known state"].get_linestyle() == "--" and lines["ridge VAR"].get_linestyle() == "-"
