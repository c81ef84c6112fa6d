"""Reading and writing NWB: what comes out is what went in, and every bad file gets one clear sentence."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdmf.backends.hdf5 import H5DataIO
from nwb_files import (
    FRAMES,
    RATE,
    add_behaviour,
    add_traces,
    add_trials,
    new_file,
    plain_file,
    random_traces,
    save,
)

from calm.data.readers.nwb import read_session
from calm.data.session import bad_neurons
from calm.errors import CalmError

SECONDS = [(float(second), second + 1.0) for second in range(10)]
recordings = pytest.mark.skipif("CALM_RECORDINGS" not in os.environ, reason="CALM_RECORDINGS is not set")


def one_sentence(error: pytest.ExceptionInfo) -> str:
    """The message, which must be a single line that ends as a sentence."""
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


def refused(path: Path, *words: str, **wanted: tuple[str, ...]) -> None:
    """Check that the file is refused in one sentence that holds the words."""
    with pytest.raises(CalmError) as error:
        read_session(path, **wanted)
    text = one_sentence(error)
    assert all(word in text for word in words), text


# --- What is read


def test_plain_file(tmp_path):
    data = random_traces()
    session = read_session(plain_file(tmp_path / "a.nwb"), behaviour=("lick",), conditions=("go",))
    assert (session.name, session.subject, session.rate) == ("session", "mouse", RATE)
    assert session.frames.tolist() == [10] * 10
    np.testing.assert_array_equal(np.concatenate(session.traces, axis=1).T, data)
    assert all(trace.dtype == np.float32 and trace.flags.c_contiguous for trace in session.traces)
    np.testing.assert_array_equal(np.concatenate(session.behaviour)[:, 0], np.arange(FRAMES))
    assert session.behaviour_names == ("lick",)
    assert session.trials["go"].tolist() == [True, False] * 5
    assert list(session.trials) == ["start_time", "stop_time", "go", "first_frame_time"]
    np.testing.assert_allclose(session.trials["first_frame_time"], np.arange(10) + 0.05)
    assert session.unit == "dF/F"
    assert list(session.neurons) == ["id", "depth", "area"]  # no pixel masks
    assert session.neurons["id"].tolist() == [100, 101, 102]


def test_names_fall_back_to_file_and_unknown(tmp_path):
    session = read_session(plain_file(tmp_path / "a.nwb", session_id=None, subject=None))
    assert (session.name, session.subject) == ("a", "unknown")
    assert session.behaviour[0].shape == (10, 0)


def test_series_by_name_container_or_both(tmp_path):
    nwb = new_file()
    for container, seed in (("DfOverF", 0), ("Fluorescence", 1)):
        add_traces(nwb, random_traces(seed=seed), container=container)
    add_trials(nwb, SECONDS)
    path = save(nwb, tmp_path / "a.nwb")
    for traces, seed in ((None, 0), (("Fluorescence",), 1), (("Fluorescence/RoiResponseSeries",), 1)):
        session = read_session(path, traces=traces)
        np.testing.assert_array_equal(np.concatenate(session.traces, axis=1).T, random_traces(seed=seed))
    refused(path, "several", "DfOverF/RoiResponseSeries", "Fluorescence/", traces=("RoiResponseSeries",))


@pytest.mark.parametrize("lost", [0, 1])
def test_planes_are_stacked(tmp_path, lost):
    nwb = new_file()
    planes = [random_traces(FRAMES, 2, 0), random_traces(FRAMES - lost, 3, 1)]
    for index, data in enumerate(planes):
        add_traces(nwb, data, name=f"plane_{index}")
    add_trials(nwb, SECONDS)
    path = save(nwb, tmp_path / "a.nwb")
    session = read_session(path, traces=("plane_0", "plane_1"))
    expected = np.concatenate([data[: FRAMES - lost] for data in planes], axis=1)
    np.testing.assert_array_equal(np.concatenate(session.traces, axis=1).T, expected)
    assert session.neurons["series"].tolist() == ["plane_0"] * 2 + ["plane_1"] * 3
    refused(path, "several", "`traces`", "DfOverF/plane_0", "DfOverF/plane_1")


def test_single_roi_without_a_roi_axis_and_a_subset_of_rois(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces()[:, 0], rois=1)
    add_trials(nwb, SECONDS)
    assert read_session(save(nwb, tmp_path / "a.nwb")).traces[0].shape == (1, 10)

    nwb = new_file()
    series = add_traces(nwb, random_traces(neurons=2), rois=2)
    series.rois.table.add_roi(pixel_mask=[(0, 0, 1.0)], id=7, depth=0.9, area="S1")
    series.rois.data[:] = [2, 0]
    add_trials(nwb, SECONDS)
    session = read_session(save(nwb, tmp_path / "b.nwb"))
    assert session.neurons["id"].tolist() == [7, 100]


def test_conversion_to_the_unit(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces(), rate=RATE, starting_time=0.05, conversion=2.0, offset=1.0)
    add_trials(nwb, SECONDS)
    session = read_session(save(nwb, tmp_path / "a.nwb"))
    np.testing.assert_allclose(np.concatenate(session.traces, axis=1).T, 2 * random_traces() + 1, rtol=1e-6)


def test_behaviour_of_two_channels_and_of_another_clock(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    times = np.linspace(1, 9, 243)
    add_behaviour(nwb, "velocity", np.stack([times, -2 * times], axis=1), timestamps=times)
    add_trials(nwb, SECONDS)
    session = read_session(save(nwb, tmp_path / "a.nwb"), behaviour=("velocity",))
    assert session.behaviour_names == ("velocity[0]", "velocity[1]")
    clock = (np.arange(FRAMES) + 0.5) / RATE
    values = np.concatenate(session.behaviour)
    inside = (clock >= times[0]) & (clock <= times[-1])
    np.testing.assert_allclose(values[inside], np.stack([clock, -2 * clock], axis=1)[inside], rtol=1e-5)
    assert np.isnan(values[~inside]).all()


def test_jitter_of_the_behaviour_clock_does_not_interpolate(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    licks = np.random.default_rng(0).integers(0, 2, FRAMES).astype(float)
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, FRAMES)
    add_behaviour(nwb, "lick", licks, timestamps=(np.arange(FRAMES) + 0.5) / RATE + jitter)
    add_trials(nwb, SECONDS)
    session = read_session(save(nwb, tmp_path / "a.nwb"), behaviour=("lick",))
    np.testing.assert_array_equal(np.concatenate(session.behaviour)[:, 0], licks)


def test_file_with_an_extension_that_nobody_has(tmp_path):
    path = plain_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        group = file.create_group("general/lab_session")
        group.attrs.update({"namespace": "ndx-nobody", "neurodata_type": "LabSession", "object_id": "0"})
    with pytest.warns(UserWarning, match="left out .*lab_session"):
        session = read_session(path)
    assert session.frames.tolist() == [10] * 10


# --- What is refused


def test_files_that_cannot_be_read(tmp_path):
    whole = plain_file(tmp_path / "whole.nwb").read_bytes()
    refused(tmp_path / "absent.nwb", "no file")
    text, short, plain, broken = (tmp_path / f"{name}.nwb" for name in ("text", "short", "plain", "broken"))
    text.write_text("not HDF5")
    refused(text, "not an HDF5 file")
    short.write_bytes(whole[: len(whole) // 2])
    refused(short, "truncated", "download it again")
    h5py.File(plain, "w").close()
    refused(plain, "plain.nwb", "not of its format")
    shutil.copy(tmp_path / "whole.nwb", broken)
    with h5py.File(broken, "a") as file:
        del file["session_start_time"]
    refused(broken, "broken.nwb", "not of its format")


def test_damaged_traces(tmp_path):
    nwb = new_file()
    add_traces(nwb, H5DataIO(random_traces(), compression="gzip"), rois=3)
    add_trials(nwb, SECONDS)
    path = save(nwb, tmp_path / "a.nwb")
    with h5py.File(path) as file:
        chunk = file["processing/ophys/DfOverF/RoiResponseSeries/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    refused(path, "a.nwb", "damaged", "download it again")


def test_missing_names_are_told_with_those_there_are(tmp_path):
    path = plain_file(tmp_path / "a.nwb")
    refused(path, "a.nwb", "'other'", "DfOverF/RoiResponseSeries", traces=("other",))
    refused(path, "a.nwb", "'speed'", "behavior/lick", behaviour=("speed",))
    refused(path, "a.nwb", "'outcome'", "go", conditions=("outcome",))


def test_no_traces_and_no_trials(tmp_path):
    nwb = new_file()
    add_trials(nwb, SECONDS)
    refused(save(nwb, tmp_path / "a.nwb"), "no RoiResponseSeries")
    nwb = new_file()
    add_traces(nwb, random_traces())
    refused(save(nwb, tmp_path / "b.nwb"), "no trial table")


def test_trials_on_another_clock(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    add_trials(nwb, [(1000.0, 2000.0)])
    refused(save(nwb, tmp_path / "a.nwb"), "none of 1 trials", "1 beyond the recording", "0.05 to 9.95 s", "a.nwb")


def test_condition_with_several_values(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    add_trials(nwb, SECONDS, pair=np.zeros((10, 2)))
    refused(save(nwb, tmp_path / "a.nwb"), "'pair'", "several values", conditions=("pair",))


def across(path: Path, data: np.ndarray, **clock: np.ndarray) -> Path:
    """A file whose traces are turned round after pynwb, which would refuse to write them so, is done with it."""
    nwb = new_file()
    add_traces(nwb, data, **clock)
    add_trials(nwb, SECONDS)
    with h5py.File(save(nwb, path), "a") as file:
        series = file["processing/ophys/DfOverF/RoiResponseSeries"]
        attributes = dict(series["data"].attrs)
        del series["data"]
        series["data"] = data.T
        series["data"].attrs.update(attributes)
    return path


@pytest.mark.filterwarnings("ignore:.*(should|may) be transposed")
@pytest.mark.parametrize("clock", [{}, {"timestamps": np.arange(FRAMES) / RATE}])
def test_transposed_traces_are_turned_where_that_is_plain(tmp_path, clock):
    path = across(tmp_path / "a.nwb", random_traces(), **clock)
    with pytest.warns(UserWarning, match=r"read as \(ROIs, frames\) = \(3, 100\)"):
        session = read_session(path)
    np.testing.assert_array_equal(np.concatenate(session.traces, axis=1), random_traces().T)


@pytest.mark.filterwarnings("ignore:.*(should|may) be transposed")
def test_traces_of_another_shape(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces().T, rois=4)
    add_trials(nwb, SECONDS)
    refused(save(nwb, tmp_path / "a.nwb"), "(3, 100)", "4 ROIs", "(frames, ROIs)")


def test_planes_of_different_recordings(tmp_path):
    nwb = new_file()
    for index in range(2):
        add_traces(nwb, random_traces(FRAMES - 10 * index), name=f"plane_{index}")
    add_trials(nwb, SECONDS)
    refused(save(nwb, tmp_path / "a.nwb"), "plane_0 100", "plane_1 90", traces=("plane_0", "plane_1"))


@pytest.mark.filterwarnings("ignore:.*Length of data does not match")
def test_timestamps_of_a_wrong_number(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces(), timestamps=np.arange(FRAMES) / RATE)
    add_trials(nwb, SECONDS)
    path = save(nwb, tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        series = file["processing/ophys/DfOverF/RoiResponseSeries"]
        kept = dict(series["timestamps"].attrs)
        del series["timestamps"]
        series["timestamps"] = np.arange(FRAMES - 5) / RATE
        series["timestamps"].attrs.update(kept)
    refused(path, "95 timestamps", "DfOverF/RoiResponseSeries")


@pytest.mark.parametrize(
    ("data", "times", "words"),
    [
        (np.zeros((FRAMES, 2, 2)), np.arange(FRAMES) / RATE, "(100, 2, 2)"),
        (np.array(["a"] * FRAMES), np.arange(FRAMES) / RATE, "numbers"),
        (np.zeros(FRAMES), -np.arange(FRAMES) / RATE, "backwards"),
        (np.zeros(1), np.zeros(1), "two or more"),
    ],
)
def test_behaviour_of_a_wrong_shape(tmp_path, data, times, words):
    nwb = new_file()
    add_traces(nwb, random_traces())
    add_behaviour(nwb, "odd", data, timestamps=times)
    add_trials(nwb, SECONDS)
    refused(save(nwb, tmp_path / "a.nwb"), words, "behavior/odd", behaviour=("odd",))


# --- Recordings of another laboratory


@recordings
def test_real_recordings():
    paths = sorted(Path(os.environ["CALM_RECORDINGS"]).glob("s1_gonogo/*.nwb"))
    sessions = [read_session(path, behaviour=("lick",), conditions=("is_go", "outcome")) for path in paths]
    assert len(sessions) == len({session.name for session in sessions}) == 19
    assert len({session.subject for session in sessions}) == 5
    assert {frames for session in sessions for frames in session.frames} == {41}
    counts = [len(session.neurons) for session in sessions]
    assert (min(counts), max(counts)) == (2, 34)
    assert not any(bad_neurons(session) for session in sessions)
    with h5py.File(paths[4]) as file:
        raw = file["processing/ophys/DfOverF/RoiResponseSeries/data"][41 * 7 : 41 * 8]
        lick = file["processing/behavior/lick/data"][41 * 7 : 41 * 8]
    np.testing.assert_array_equal(sessions[4].traces[7], raw.T)
    np.testing.assert_array_equal(sessions[4].behaviour[7][:, 0], lick)
