"""Panels of decoding draw the numbers they are given, each channel in its own Axes."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.errors import CalmError
from calm.paper import plots
from calm.paper.plots import example_traces
from calm.paper.plots.decoding import channel_dots, look_ahead_curve, share_curve
from calm.paper.results import Results

pytestmark = pytest.mark.usefixtures("drawing")

CHANNELS = ("pitch", "roll", "yaw")
LEVELS = {("GLM", ""): 0.2, ("CalM", "linear head"): 0.4, ("CalM", "GLU head"): 0.6}


def scores(levels, sessions=3, shares=(1,)):
    """R2 of each method, higher by 0.1 from channel to channel and by 0.01 from session to session; times the share."""
    results = Results("cohort", 0)
    for (method, variant), level in levels.items():
        for session, (step, channel), share in itertools.product(range(sessions), enumerate(CHANNELS), shares):
            where = {"split": "test", "session": f"s{session}", "method": method, "variant": variant, "share": share}
            results.add(f"r2 {channel}", share * (level + 0.1 * step + 0.01 * session), item="fig4b", **where)
    return results.table("fig4b")


def test_each_channel_has_its_own_dots_in_the_given_order_and_its_ceiling():
    _, axes = plt.subplots(1, 3)
    table = scores({**LEVELS, ("ceiling", "known rates"): 0.7})
    channel_dots(list(axes), pd.concat([table, table.assign(seed=1)]), ["GLM", "CalM"], CHANNELS, "R²", "r2")
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["CalM, GLU head", "CalM, linear head", "GLM"]
    for step, panel in enumerate(axes):
        means = [bar.lines[0].get_xdata()[0] for bar in panel.containers]
        assert means == pytest.approx([0.1 * step + level for level in (0.61, 0.41, 0.21)])
        assert panel.get_title() == CHANNELS[step] and panel.get_xlabel().startswith("R²")
        assert ("n = 3 sessions, 2 seeds each" in panel.get_xlabel()) == (step == 1)
        upright = [line.get_xdata()[0] for line in panel.lines if line.get_label() == "ceiling, known rates"]
        assert upright == pytest.approx([0.1 * step + 0.71])
    assert not len(axes[1].get_yticks())


def test_a_session_without_a_score_is_no_dot_and_a_channel_without_any_is_refused():
    rows = scores(LEVELS).query("metric == 'r2 pitch'")
    still = rows.iloc[:1].assign(value=np.nan, session="still")
    _, axes = plt.subplots()
    channel_dots([axes], pd.concat([rows, still]), ["GLM"], ["pitch"], "R²", "r2")
    assert "n = 3 sessions" in axes.get_xlabel()
    with pytest.raises(CalmError, match="There is no r2 of yaw"):
        channel_dots([axes], rows, ["GLM"], ["yaw"], "R²", "r2")
    with pytest.raises(CalmError, match="POYO"):
        channel_dots([axes], rows, ["POYO+"], ["pitch"], "R²", "r2")


def test_decoded_behaviour_starts_with_the_trial_and_may_end_before_it():
    figure, axes = plt.subplots(2, 1)
    time, true = np.arange(10) * 0.2, np.random.default_rng(0).normal(size=(10, 2))
    decoded = {"CalM, GLU head": true[:8] + 1, "CalM, linear head": true[:8] - 1, "GLM": true}
    series = {name: behaviour.T for name, behaviour in decoded.items()}
    example_traces(list(axes), time, true.T, series, ["pitch", "yaw"])
    drawn = {line.get_label(): line for line in axes[1].lines}
    np.testing.assert_array_equal(drawn["CalM, GLU head"].get_xdata(), time[:8])
    np.testing.assert_array_equal(drawn["CalM, GLU head"].get_ydata(), true[:8, 1] + 1)
    np.testing.assert_array_equal(drawn["true"].get_ydata(), true[:, 1])
    styles = {name: (line.get_color(), line.get_linestyle()) for name, line in drawn.items()}
    assert len(set(styles.values())) == 4 and styles["CalM, GLU head"][0] == styles["CalM, linear head"][0]
    assert [panel.get_ylabel() for panel in axes] == ["pitch\n(z-score)", "yaw\n(z-score)"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["true", *decoded]


@pytest.mark.parametrize("sessions", [1, 3])
def test_the_curve_is_the_mean_over_sessions_at_each_share(sessions):
    rows = scores(LEVELS, sessions, shares=(1.0, 0.05, 0.25)).query("metric == 'r2 pitch'")
    figure, axes = plt.subplots(figsize=(plots.COLUMN, 2.6))
    share_curve(axes, rows, "R²")
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert set(lines) == {"GLM", "CalM, linear head", "CalM, GLU head"}
    np.testing.assert_allclose(lines["GLM"].get_xdata(), [5, 25, 100])
    level = 0.2 + 0.01 * (sessions - 1) / 2
    np.testing.assert_allclose(lines["GLM"].get_ydata(), [0.05 * level, 0.25 * level, level])
    assert lines["CalM, linear head"].get_linestyle() == "--" and lines["CalM, GLU head"].get_linestyle() == "-"
    assert ("n = 3 sessions" if sessions > 1 else "n = 1 session") in axes.get_xlabel()
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "25", "100"]


def test_the_curve_by_look_ahead_has_the_points_of_each_method():
    rows = (
        scores(LEVELS, 2, shares=(0.0, 3.0, 7.0)).query("metric == 'r2 pitch'").rename(columns={"share": "look_ahead"})
    )
    rows = rows[(rows["method"] == "GLM") | (rows["look_ahead"] != 3)]
    _, axes = plt.subplots()
    look_ahead_curve(axes, rows, "R²")
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    np.testing.assert_allclose(lines["GLM"].get_xydata(), [(0, 0), (3, 3 * 0.205), (7, 7 * 0.205)])
    zeros = [line.get_transform().transform((0, 0))[0] for line in lines.values()]
    points = np.ptp(zeros) * 72 / axes.figure.dpi
    assert len(set(zeros)) == len(lines) and points == pytest.approx(8)  # side by side
    np.testing.assert_allclose(lines["CalM, GLU head"].get_xydata(), [(0, 0), (7, 7 * 0.605)])
    assert axes.get_xlabel().startswith("frames seen after the present one") and "n = 2 sessions" in axes.get_xlabel()
