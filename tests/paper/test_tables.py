"""Tables 1 and 2: sums and means over the right sessions, and the paper's own numbers from a cohort as large as its."""

import numpy as np
import pandas as pd
import pytest

from calm.config.synthetic import CohortConfig
from calm.data.session import Session
from calm.paper.experiments.inspection import add_counts, beside_paper, count_table, describe_sessions
from calm.paper.report.comparison import compare
from calm.paper.results import Results, read_published, summarise
from calm.profile import load_profile
from calm.recordings import Recordings
from calm.synthetic.mice import HELD_OUT, TRIAL_FRAMES, plan_cohort


def empty_session(name, subject, neurons, lengths, area=None):
    """A session that takes no memory, whatever its size."""
    columns = {} if area is None else {"session_area": [area] * neurons}
    return Session(
        name=name,
        subject=subject,
        rate=6.0,
        traces=tuple(np.broadcast_to(np.float32(0), (neurons, length)) for length in lengths),
        behaviour=(),
        behaviour_names=(),
        trials=pd.DataFrame({"trial": range(len(lengths))}),
        neurons=pd.DataFrame(columns, index=range(neurons)),
    )


def recordings_of(sessions, held_out=(), name="mine"):
    groups = [[each for each in sessions if (each.subject in held_out) == out] for out in (False, True)]
    return Recordings(name, *groups, load_profile("smoke"))


def counts_of(recordings, item, by):
    results = Results(recordings.name, seed=0)
    add_counts(results, recordings, item=item, by=by)
    return results.table(item)


@pytest.fixture(scope="module")
def full():
    """The sessions of a cohort at paper scale, two trials each of the mean length."""
    plans = plan_cohort(CohortConfig())
    lengths = [round(plan.trial_frames) for plan in plans]
    sessions = [
        empty_session(plan.name, str(plan.mouse), plan.neurons, [length] * 2, plan.area)
        for plan, length in zip(plans, lengths, strict=True)
    ]
    return recordings_of(sessions, HELD_OUT, "cohort")


@pytest.mark.parametrize(("item", "by", "kinds"), [("table1", "subject", 8), ("table2", "area", 6)])
def test_a_cohort_of_paper_size_has_the_papers_counts(full, item, by, kinds):
    both = beside_paper(counts_of(full, item, by))
    assert len(both) == kinds
    for metric in ("sessions", "neurons"):
        assert (both[metric, "ours"] == both[metric, "paper"]).all()
    assert (both["sessions", "ours"].sum(), both["neurons", "ours"].sum()) == (286, 273_770)


def test_mice_are_in_the_order_of_their_numbers_with_their_trial_lengths(full):
    both = beside_paper(counts_of(full, "table1", "subject"))
    assert list(both.index) == [f"subject {mouse}" for mouse in TRIAL_FRAMES]
    assert both["mean trial frames", "ours"].tolist() == list(TRIAL_FRAMES.values())


def test_lengths_are_means_over_trials_not_over_sessions():
    sessions = [empty_session("a", "x", 2, [10]), empty_session("b", "x", 3, [20, 20, 20])]
    rows = counts_of(recordings_of(sessions), "table1", "subject").set_index("metric")
    assert rows["value"].to_dict() == {"sessions": 2, "neurons": 5, "mean trial frames": 17.5}
    assert rows["n"].to_dict() == {"sessions": 2, "neurons": 2, "mean trial frames": 4}


def test_held_out_subjects_are_counted_and_named_as_such():
    sessions = [empty_session("a", "x", 2, [10]), empty_session("b", "y", 3, [20])]
    recordings = recordings_of(sessions, held_out=["y"])
    found = describe_sessions(recordings).set_index("session")
    assert found["group"].to_dict() == {"a": "held-in", "b": "held-out"} and "area" not in found
    counts = count_table(counts_of(recordings, "table1", "subject"))
    assert counts["neurons"].to_dict() == {"subject x": 2, "subject y": 3}


def test_the_report_joins_counts_of_the_real_recordings_with_the_published_ones(full):
    rows = counts_of(full, "table2", "area").assign(dataset="dandi_000579")
    joined = compare(summarise(rows), read_published()).query("item == 'table2'")
    assert len(joined) == 18 and set(joined["note"]) == {""}
    neurons = joined[joined["metric"] == "neurons"]
    assert (neurons["ours"] == neurons["paper"]).all()
