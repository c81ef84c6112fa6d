"""Panels on recordings, tokenizer and pretraining draw the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from calm.paper.plots import data as panels
from calm.paper.results import Results

pytestmark = pytest.mark.usefixtures("drawing")


@pytest.fixture
def axes():
    return plt.subplots()[1]


@pytest.fixture
def task():
    """Six trials, the rule switches before the fourth."""
    return pd.DataFrame(
        {
            "is_ruleA": [True, True, True, False, False, False],
            "is_cueB": [True, False, True, True, False, False],
            "is_choL": [True, False, True, False, False, True],
            "is_correct": [True, True, True, True, False, True],
        }
    )


def reconstruction(groups):
    """Three sessions of each group, better in training trials."""
    results = Results("cohort", seed=0)
    for group in groups:
        for split, level in (("train", 0.9), ("val", 0.8), ("test", 0.7)):
            for session in range(3):
                where = {"group": group, "split": split, "session": f"{group} {session}", "method": "CalM"}
                results.add("corr", level + 0.01 * session, item="fig1b", n=5, **where)
    return results.table("fig1b")


def test_dots_of_groups_stand_in_pairs_and_say_their_means(axes):
    table = reconstruction(["held-in", "held-out"])
    panels.group_dots(axes, table.assign(kind=table["split"]), "r")
    assert [text.get_text() for text in axes.texts] == ["0.910", "0.810", "0.710"] * 2
    means = [line for line in axes.lines if line.get_markersize() == 9]
    assert [line.get_ydata()[0] for line in means] == pytest.approx([0.91, 0.81, 0.71] * 2)
    places = np.array([line.get_xdata()[0] for line in means])
    np.testing.assert_allclose((places[:3] + places[3:]) / 2, [0, 1, 2])
    assert np.all(places[:3] < places[3:])
    assert axes.get_ylim()[0] > 0.6  # the axis begins where the values do
    names = [text.get_text() for text in axes.legend().get_texts()]
    assert names == ["held-in (n = 3 sessions)", "held-out (n = 3 sessions)"]


def test_without_held_out_sessions_each_kind_has_one_mean_in_its_middle(axes):
    table = reconstruction(["held-in"])
    panels.group_dots(axes, table.assign(kind=table["split"]), "r")
    means = [line for line in axes.lines if line.get_markersize() == 9]
    assert [line.get_xdata()[0] for line in means] == [0, 1, 2]


def test_the_running_share_of_correct_trials_stays_within_the_session(axes, task):
    panels.share_correct(axes, task)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 5 / 6)  # the window is longer than these six trials
    assert [text.get_text() for text in axes.texts] == ["rule A", "rule B"]


def test_averages_by_cue_and_choice_have_their_line_and_band(axes):
    kinds = [("black", "left"), ("white", "right")]
    shared = {"seconds": [-1.0, 0.0, 1.0], "sem": 0.5, "n": 7}
    rows = pd.concat(
        [
            pd.DataFrame({**shared, "cue": cue, "choice": choice, "value": float(k)})
            for k, (cue, choice) in enumerate(kinds)
        ]
    )
    panels.condition_averages(axes, rows)
    black, white = axes.lines[:2]
    assert (black.get_linestyle(), white.get_linestyle()) == ("-", "--") and black.get_color() != white.get_color()
    assert white.get_label() == "white, right (n = 7)"
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.5, 1.5)


def test_gap_lines_are_means_over_sessions_at_each_time(axes):
    rows = pd.DataFrame(
        [
            {
                "session": session,
                "variant": variant,
                "split": split,
                "seconds": seconds,
                "value": level + seconds + session,
            }
            for level, variant in enumerate(panels.TRAINED)
            for split in ("train", "val", "test")
            for seconds in (1.0, 2.0)
            for session in (0, 1)
        ]
    )
    panels.gap_lines(axes, rows, "nats")
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert len(drawn) == 4 and "n = 2" in axes.get_xlabel()
    assert drawn["with scheduled sampling, train"] == [1.5, 2.5] and drawn["without, test"] == [2.5, 3.5]
