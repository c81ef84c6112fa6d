"""The layouts that published NWB files mostly have: each is read, or one sentence says which keys make it so."""

import numpy as np
import pytest
from nwb_files import add_behaviour, add_traces, add_trials, new_file, random_traces, save
from pynwb.epoch import TimeIntervals

import calm
from calm.errors import CalmError

FRAMES = 400  # at 10 Hz
TRIALS = [(4.0 * trial, 4.0 * trial + 4) for trial in range(10)]
DFF, RAW = ("RoiResponseSeries", "DfOverF"), ("RoiResponseSeries", "Fluorescence")
WINDOWS = {"windows": {"length": 40}}
LAYOUTS = {  # series, tables of intervals, words of the refusal, and keys that make it a session
    "dF/F and trials": ([DFF], ["trials"], (), {}),
    "fluorescence and trials": ([RAW], ["trials"], (), {"dff": True}),
    "dF/F beside fluorescence": ([DFF, RAW], ["trials"], (), {}),
    "dF/F and several tables": ([DFF], ["trials", "epochs_of_light"], (), {}),
    "raw, neuropil and deconvolved": (
        [("raw", "Fluorescence"), ("neuropil", "Fluorescence"), ("deconvolved", "Fluorescence")],
        ["trials"],
        ("`traces`", "ophys/Fluorescence/raw"),
        {"traces": "raw", "dff": True},
    ),
    "two planes": (
        [("plane_0", "DfOverF"), ("plane_1", "DfOverF")],
        ["trials"],
        ("`traces`", "plane_0", "plane_1"),
        {"traces": ["plane_0", "plane_1"]},
    ),
    "a table of stimuli": ([DFF], ["stimuli"], ("`trials`", "stimuli"), {"trials": "stimuli"}),
    "no intervals": ([DFF], [], ("`windows",), WINDOWS),
    "events only": (
        [RAW],
        [],
        ("`trials: {events",),
        {"trials": {"events": "cues", "before": 1.0, "after": 3.0}, "dff": True},
    ),
    "no intervals, several series": (
        [("a", "DfOverF"), ("b", "DfOverF")],
        [],
        ("`windows",),
        {"traces": "b", **WINDOWS},
    ),
}


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path):
    """A file of a layout, and what is known about it."""
    series, tables, words, keys = LAYOUTS[request.param]
    nwb = new_file()
    for name, container in series:
        add_traces(nwb, random_traces(FRAMES) + 100 * (container == "Fluorescence"), name=name, container=container)
    add_behaviour(nwb, "cues", np.ones(8), timestamps=2.0 + 4.5 * np.arange(8))
    for table in tables:
        if table == "trials":
            add_trials(nwb, TRIALS)
            continue
        other = TimeIntervals(name=table, description="test")
        for start, stop in TRIALS:
            other.add_row(start_time=start, stop_time=stop)
        nwb.add_time_intervals(other)
    return str(save(nwb, tmp_path / "a.nwb")), words, keys


def test_a_common_layout_is_read_or_says_what_to_write(layout):
    path, words, keys = layout
    if words:
        with pytest.raises(CalmError) as error:
            calm.load_sessions(path)
        assert all(word in str(error.value) for word in words), error.value
        assert "\n" not in str(error.value) and str(error.value).endswith(".")
    (session,) = calm.load_sessions({"files": path, **keys})
    assert set(session.frames) == {40} and len(session.traces) >= 7 and len(session.neurons) in (3, 6)
    assert abs(np.concatenate(session.traces, axis=1).mean()) < 1  # dF/F, whatever is beside it
    calm.prepare(session, seed=0)
