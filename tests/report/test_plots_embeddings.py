"""Panels of embeddings and dynamics show the numbers of their tables."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.paper.embeddings.dynamics import COMPONENT_CORR, NEURON_CORR
from calm.paper.embeddings.study import COORDINATES
from calm.paper.plots import use_style
from calm.paper.plots.dynamics import by_component, components_and_neurons, shuffle_boxes
from calm.paper.plots.embeddings import (
    confusion,
    gradient_plane,
    preference_plane,
    read_outs,
    scale_lines,
    shuffle_histogram,
)

matplotlib.use("Agg")


@pytest.fixture
def axes():
    with matplotlib.rc_context():
        use_style()
        yield plt.subplots()[1]
    plt.close("all")


@pytest.fixture
def neurons():
    """Ten neurons of two sessions: coordinates and d' of both variables, as rows."""
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=10) for name in (*COORDINATES, "cue", "choice")}
    neurons = pd.DataFrame({"session": ["a", "b"] * 5, "neuron": range(10), **columns})
    return neurons.melt(["session", "neuron"], var_name="metric")


def values_of(neurons, metric):
    return neurons.loc[neurons["metric"] == metric, "value"].to_numpy()


def test_arrows_point_along_the_axes(axes, neurons):
    directions = {"cue": (0.6, 0.8), "choice": (-1.0, 0.0)}
    rows = [
        (f"axis of {name}", place, value)
        for name, axis in directions.items()
        for place, value in zip(COORDINATES, axis, strict=True)
    ]
    details = pd.DataFrame(rows, columns=["metric", "variant", "value"])
    gradient_plane(axes, neurons, details, "choice", ("left", "right"), "r = 0.30")
    assert len(axes.collections[0].get_offsets()) == 10
    for name in axes.texts:
        low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
        assert np.all(low < name.xy) and np.all(name.xy < high)  # names are within the panel
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    for arrow, axis in zip(arrows, directions.values(), strict=True):
        np.testing.assert_allclose(np.array(arrow.xy) / np.linalg.norm(arrow.xy), axis)
    assert [text.get_text() for text in axes.texts if text.arrow_patch is None] == ["cue", "choice"]
    assert axes.figure.axes[1].get_ylabel() == "d' of choice\n(+ left, - right)"
    assert axes.get_title() == "r = 0.30"


def test_preferences_have_their_colours_and_the_plane_says_how_far_they_lie_apart(axes, neurons):
    draws = pd.DataFrame({"draw": range(4), "value": [0.2, 0.1, 0.3, 0.0]})
    preference_plane(axes, neurons, "cue", ("black", "white"), draws)
    black, white = axes.collections
    assert len(black.get_offsets()) == (values_of(neurons, "cue") > 0).sum()
    assert black.get_facecolor()[0][:3].max() < white.get_facecolor()[0][:3].min()
    assert axes.get_aspect() == 1
    assert axes.get_xlabel().endswith("r = 0.20, p = 0.5")


def test_sides_without_a_colour_of_their_own_differ(axes, neurons):
    draws = pd.DataFrame({"draw": range(2), "value": [-0.001, 0.1]})
    preference_plane(axes, neurons, "cue", ("go", "no go"), draws)
    assert not np.array_equal(*(each.get_facecolor()[0] for each in axes.collections))
    assert axes.get_xlabel().endswith("r = 0.00, p = 1")


def test_a_histogram_holds_the_shuffles_and_a_line_the_observed_value(axes):
    draws = pd.DataFrame({"draw": range(101), "value": [0.7, *np.linspace(0, 0.5, 100)], "n": 30})
    shuffle_histogram(axes, draws, "r", 0.01)
    assert sum(bar.get_height() for bar in axes.patches) == 100
    assert axes.lines[0].get_xdata()[0] == 0.7
    assert axes.get_xlabel() == "r\nn = 30 tuned neurons\np = 0.01"


def test_a_confusion_matrix_has_counts_and_shares_by_row(axes):
    rows = pd.DataFrame({"true": list("aabb"), "predicted": list("abab"), "value": [3.0, 1.0, 0.0, 2.0]})
    confusion(axes, rows, "mouse", accuracy=5 / 6, chance=0.5)
    assert [text.get_text() for text in axes.texts] == ["3", "1", "", "2"]
    assert axes.get_title() == "accuracy 0.83, chance 0.50"
    np.testing.assert_allclose(axes.collections[0].get_array().ravel(), [0.75, 0.25, 0, 1])
    assert axes.get_xlabel() == "predicted mouse (n = 6 sessions)"


def test_mice_are_in_the_order_of_their_numbers(axes):
    rows = pd.DataFrame({"true": ["10", "10", "9", "9"], "predicted": ["10", "9"] * 2, "value": [2.0, 0.0, 1.0, 3.0]})
    confusion(axes, rows, "mouse", accuracy=5 / 6, chance=0.5)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["9", "10"]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "", "2"]


def test_layers_are_written_as_everyone_does(axes):
    rows = pd.DataFrame({"true": ["L23", "L5"], "predicted": ["L5", "L23"], "value": [1.0, 1.0]})
    confusion(axes, rows, "layer", accuracy=0.0, chance=0.5)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["L2/3", "L5"]


def test_read_outs_have_a_dot_and_the_middle_of_the_shuffles(axes):
    rows = [(name, draw, value + draw / 1000) for name, value in (("d'", 0.1), ("true", 0.4)) for draw in range(101)]
    draws = pd.DataFrame(rows, columns=["variant", "draw", "value"]).assign(n=50)
    read_outs(axes, draws)
    bar = axes.patches[1]
    assert (bar.get_x(), bar.get_x() + bar.get_width()) == pytest.approx((0.4 + 0.003475, 0.4 + 0.097525))
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([0.1, 0.4])


def test_boxes_hold_the_middle_of_the_shuffled_trials(axes):
    draws = pd.DataFrame({"method": ["CalM"] * 102, "draw": range(102), "value": [9.0, *np.linspace(0, 1, 101)]})
    shuffle_boxes(axes, draws, ["CalM"])
    assert [text.get_text() for text in axes.texts] == [f"p = {1 / 102:.2g}"]
    (box,) = axes.patches
    assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((0.025, 0.975))


def test_components_are_means_over_sessions(axes):
    shared = {"method": "CalM", "metric": "corr"}
    rows = [{**shared, "component": c, "session": s, "value": c + 0.1 * i} for c in (1, 2) for i, s in enumerate("abc")]
    rows += [
        {"method": "truth", "metric": "share of variance", "component": c, "session": "a", "value": 0.5} for c in (1, 2)
    ]
    by_component(axes, pd.DataFrame(rows), ["CalM"])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1.1, 2.1])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.5, 0.5])


def test_a_line_joins_neurons_and_components_of_each_session_and_of_the_mean(axes):
    rows = pd.DataFrame(
        [
            {"method": "CalM", "session": session, "metric": metric, "value": value}
            for session, pair in (("a", (0.1, 0.3)), ("b", (0.3, 0.7)))
            for metric, value in zip((NEURON_CORR, COMPONENT_CORR), pair, strict=True)
        ]
    )
    components_and_neurons(axes, rows, ["CalM"])
    drawn = [line.get_ydata().tolist() for line in axes.lines]
    np.testing.assert_allclose(drawn, [[0.1, 0.3], [0.3, 0.7], [0.2, 0.5]])


def test_lines_of_scales_go_from_small_to_large_with_chance_below(axes):
    rows = pd.DataFrame({"share": [1.0, 0.5] * 2, "variant": ["d' of cue"] * 2 + ["true cue"] * 2})
    rows["value"] = [0.4, 0.2, 0.5, 0.3]
    chance = rows.assign(value=[0.1, 0.11, 0.12, 0.09])
    scale_lines(axes, rows, chance)
    drawn = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(drawn["d' of cue"].get_xydata(), [[0.5, 0.2], [1, 0.4]])
    assert drawn["true cue"].get_linestyle() == "--" and drawn["d' of cue"].get_linestyle() == "-"
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 1].max() == 0.12
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "1"]
