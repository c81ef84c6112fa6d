"""Writing NWB: what comes out is what went in."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nwb_files import add_traces, add_trials, new_file, random_traces, save
from nwb_writer import write_session
from pynwb import NWBHDF5IO

import calm
from calm.data.readers.nwb import read_session
from calm.data.readers.nwb_file import Stretches, write_nwb
from calm.data.session import Session
from calm.errors import CalmError


def random_session(lengths: list[int], neurons: int, channels: int, rate: float) -> Session:
    """A session with trials of the given lengths and columns of every kind."""
    rng, count = np.random.default_rng(sum(lengths)), len(lengths)
    return Session(
        name="round",
        subject="trip",
        rate=rate,
        traces=tuple(rng.normal(size=(neurons, length)).astype(np.float32) for length in lengths),
        behaviour=tuple(rng.normal(size=(length, channels)).astype(np.float32) for length in lengths),
        behaviour_names=tuple(f"channel[{index}]" for index in range(channels)),
        trials=pd.DataFrame({"go": rng.random(count) < 0.5, "outcome": ["hit"] * count, "reward": rng.random(count)}),
        neurons=pd.DataFrame({"id": rng.permutation(neurons), "depth": rng.random(neurons), "area": "V1"}),
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 1),
    neurons=st.integers(1, 4),
    channels=st.integers(0, 2),
    rate=st.floats(1, 100),
)
def test_write_then_read(tmp_path, lengths, neurons, channels, rate):
    session = random_session(lengths, neurons, channels, rate)
    write_session(session, tmp_path / "a.nwb")
    conditions = tuple(session.trials)
    again = read_session(tmp_path / "a.nwb", behaviour=session.behaviour_names, conditions=conditions)
    assert (again.name, again.subject, again.rate) == (session.name, session.subject, session.rate)
    assert again.behaviour_names == session.behaviour_names
    assert again.fingerprint() == session.fingerprint()
    for ours, theirs in zip(again.behaviour, session.behaviour, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    pd.testing.assert_frame_equal(again.trials[list(session.trials)], session.trials)
    pd.testing.assert_frame_equal(again.neurons, session.neurons)


# --- What a model made of a recording


@pytest.fixture
def recorded(tmp_path):
    """A session of 3 neurons whose clock begins at 7 s, with five trials of 20 frames and a pause behind each."""
    nwb = new_file()
    add_traces(nwb, random_traces(150), timestamps=7 + np.arange(150) / 10)
    add_trials(nwb, [(7.0 + 3 * trial, 9.0 + 3 * trial) for trial in range(5)], go=[True, False, True, True, False])
    return read_session(save(nwb, tmp_path / "recording.nwb"), conditions=("go",))


def stretches(session, trials, first):
    """What was recorded, from a frame of each trial on."""
    trials = np.array(trials)
    return Stretches([session.traces[trial][:, first:] for trial in trials], trials, np.full(len(trials), first))


def test_traces_are_written_back_on_the_clock_of_the_recording(recorded, tmp_path):
    series = {"forecast": stretches(recorded, [3, 0], 8), "reconstruction": stretches(recorded, [1], 0)}
    write_nwb(tmp_path / "new" / "calm.nwb", recorded, series)
    with NWBHDF5IO(tmp_path / "new" / "calm.nwb", "r") as io:
        nwb = io.read()
        forecast, reconstruction = (nwb.processing["calm"][name] for name in ("forecast", "reconstruction"))
        frames = [*range(8, 20), *range(98, 110)]  # of the recording, whichever order trials were given in
        np.testing.assert_allclose(forecast.timestamps[:], 7 + np.array(frames) / 10)
        np.testing.assert_array_equal(forecast.data[:], random_traces(150)[frames])
        np.testing.assert_array_equal(reconstruction.data[:], random_traces(150)[30:50])
        assert forecast.unit == "dF/F" and forecast.rois.table is nwb.processing["calm"]["neurons"]
        assert forecast.rois.table.id[:].tolist() == [100, 101, 102]
        assert forecast.rois.table["area"][:].tolist() == ["V1"] * 3
        assert (nwb.session_id, nwb.subject.subject_id) == ("session", "mouse")
        assert nwb.trials["go"][:].tolist() == [True, False, True, True, False]
        assert nwb.trials["start_time"][:].tolist() == [7, 10, 13, 16, 19]


def test_a_written_forecast_can_be_read_like_any_recording(recorded, tmp_path):
    write_nwb(tmp_path / "calm.nwb", recorded, {"forecast": stretches(recorded, range(5), 8)})
    (session,) = calm.load_sessions(
        {"files": str(tmp_path / "calm.nwb"), "windows": {"length": 12, "stride": 12, "gap": 0}}
    )
    for trace, original in zip(session.traces, recorded.traces, strict=True):
        np.testing.assert_array_equal(trace, original[:, 8:])


def test_neurons_that_are_called_by_text_keep_their_names(tmp_path):
    names = pd.DataFrame({f"cell {n}": np.random.default_rng(n).normal(size=100) for n in range(3)})
    names.to_csv(tmp_path / "a.csv", index=False)
    (session,) = calm.load_sessions(
        {"files": str(tmp_path / "a.csv"), "layout": "csv", "rate": 10.0, "windows": {"length": 10}}
    )
    write_nwb(tmp_path / "a.nwb", session, {"forecast": stretches(session, [0], 5)})
    with NWBHDF5IO(tmp_path / "a.nwb", "r") as io:
        assert io.read().processing["calm"]["neurons"]["neuron"][:].tolist() == list(names)


def test_what_cannot_be_written_is_refused(recorded, make_session, tmp_path):
    path = tmp_path / "calm.nwb"
    with pytest.raises(CalmError, match="overlap in time"):
        write_nwb(path, recorded, {"forecast": stretches(recorded, [0, 0], 8)})
    unrecorded = make_session([20] * 3)
    with pytest.raises(CalmError, match="no frame of it has a time"):
        write_nwb(path, unrecorded, {"forecast": stretches(unrecorded, [0], 8)})
    assert list(tmp_path.iterdir()) == [tmp_path / "recording.nwb"]
    with pytest.raises(CalmError, match=r"recording\.nwb exists"):
        write_nwb(tmp_path / "recording.nwb", recorded, {"forecast": stretches(recorded, [0], 8)})
