"""A first look says what is there, and the description that it proposes is read as it says."""

import h5py
import numpy as np
import pytest
import yaml
from nwb_files import RATE, add_behaviour, add_traces, add_trials, new_file, plain_file, random_traces, save
from pynwb.epoch import TimeIntervals
from source_files import caiman_file, random_fluorescence, suite2p_plane

import calm
from calm.data.contents import nwb_keys
from calm.data.descriptions import load_dataset
from calm.data.reading import read_checked
from calm.errors import CalmError


def followed(description, folder):
    """The session that a saved description leads to."""
    (folder / "mine.yaml").write_text(description)
    dataset = load_dataset(folder / "mine.yaml")
    return read_checked(dataset.paths()[0], dataset, min_frames=1)


def test_a_complete_nwb_file(tmp_path, capsys):
    path = plain_file(tmp_path / "a.nwb")
    session = followed(calm.inspect(path), tmp_path)
    shown = capsys.readouterr().out
    for text in ("ophys/DfOverF/RoiResponseSeries", "100x3", "behavior/lick", "trials", "10 intervals", "go", "dF/F"):
        assert text in shown
    assert "Neurons can be kept by id, depth, area." in shown
    assert "3 neurons, 10 trials of 10 to 10 frames at 10 Hz" in shown and len(session.traces) == 10


def test_gaps_nan_and_several_traces_without_trials(tmp_path, capsys):
    nwb, times = new_file(), np.arange(1200) / RATE + (np.arange(1200) >= 600) * 5
    data = random_traces(1200)
    for name in ("first", "second"):
        add_traces(nwb, data, name=name, timestamps=times)
    speed = np.arange(1200.0)
    speed[:300] = np.nan
    add_behaviour(nwb, "speed", speed, timestamps=times)
    description = calm.inspect(save(nwb, tmp_path / "a.nwb"))
    shown = capsys.readouterr().out
    assert "25.00%" in shown
    content = yaml.safe_load(description)
    assert content["traces"] == "ophys/DfOverF/first" and content["windows"] == {"length": 80}
    row = next(line for line in shown.splitlines() if "behavior/speed" in line).split()
    assert row[-5:] == ["10.0", "0.0", "124.9", "1", "25.00%"]
    session = followed(description, tmp_path)
    assert set(session.frames) == {80} and len(session.neurons) == 3


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("Deconvolved Fluorescence Neuropil", "Fluorescence"),  # Suite2p's own file
        ("raw neuropil neuropil_corrected", "neuropil_corrected"),
        ("background dff events", "dff"),
        ("fluorescence deltaF spikes", "deltaF"),
        ("neuropil spikes", "neuropil"),
    ],
)
def test_of_several_traces_those_of_cells_are_proposed(tmp_path, names, chosen):
    nwb = new_file()
    for name in names.split():
        add_traces(nwb, random_traces(800), name=name, container="Fluorescence")
    content = yaml.safe_load(calm.inspect(save(nwb, tmp_path / "a.nwb")))
    assert content["traces"] == f"ophys/Fluorescence/{chosen}"


def test_intervals_are_proposed_where_there_are_enough(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces(1000))
    add_trials(nwb, [(8.0 * trial, 8.0 * trial + 5) for trial in range(10)])
    for name, count, seconds in (("epochs", 2, 30.0), ("flashes", 40, 1.0), ("stimuli", 9, 6.0)):
        nwb.add_time_intervals(TimeIntervals(name=name, description="test"))
        for row in range(count):
            nwb.intervals[name].add_row(start_time=2.0 * row, stop_time=2.0 * row + seconds)
    path = save(nwb, tmp_path / "a.nwb")
    for least, expected in (
        (1, {}),
        (50, {}),
        (51, {"trials": "stimuli"}),
        (61, {"windows": {"length": 80}}),
    ):
        assert nwb_keys(path, least) == expected


@pytest.mark.filterwarnings("ignore:.*Length of data does not match")
def test_a_clock_that_lacks_frames_is_shown_and_refused(tmp_path, capsys):
    nwb = new_file()
    add_traces(nwb, random_traces(1000), timestamps=np.arange(1000) / RATE)
    path = save(nwb, tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        series = file["processing/ophys/DfOverF/RoiResponseSeries"]
        attributes = dict(series["timestamps"].attrs)
        del series["timestamps"]
        series["timestamps"] = np.arange(900) / RATE
        series["timestamps"].attrs.update(attributes)
    calm.inspect(path)
    shown = capsys.readouterr().out
    assert "1000x3" in shown and "cannot be used" in shown and "900 timestamps" in shown


def test_other_sources(tmp_path, capsys):
    traces = random_fluorescence(4, 1000)
    folder = tmp_path / "mouse" / "suite2p"
    suite2p_plane(folder / "plane0", traces, neuropil=np.zeros_like(traces), cells=[1, 0, 1, 1])
    np.savetxt(tmp_path / "a.csv", traces, delimiter=",")
    np.savez(tmp_path / "a.npz", traces=traces, time=np.arange(1000) / 4)
    caiman_file(tmp_path / "a.hdf5", C=traces, F_dff=None)
    for path, neurons, rate in ((folder, 3, 15.0), (tmp_path / "a.csv", 4, 15.0)):
        session = followed(calm.inspect(path, rate=rate), tmp_path)
        assert (len(session.neurons), session.rate) == (neurons, rate)
        assert "is a guess" not in capsys.readouterr().out
        calm.inspect(path)
        assert "30 per second is a guess" in capsys.readouterr().out
    for name, rate in (("a.npz", 4.0), ("a.hdf5", 10.0)):
        assert followed(calm.inspect(tmp_path / name), tmp_path).rate == rate
        assert "is a guess" not in capsys.readouterr().out


def test_a_plain_recording_is_read_once(tmp_path, monkeypatch):
    reads, read = [], calm.data.reading.read_npz
    monkeypatch.setattr(
        "calm.data.reading.read_npz", lambda *args, **options: reads.append(args) or read(*args, **options)
    )
    np.savez(tmp_path / "a.npz", traces=random_fluorescence(4, 1000), time=np.arange(1000) / 4)
    calm.inspect(tmp_path / "a.npz")
    assert len(reads) == 1


def test_what_cannot_be_used_is_said(tmp_path, capsys):
    np.savetxt(tmp_path / "short.csv", random_fluorescence(4, 50), delimiter=",")
    calm.inspect(tmp_path / "short.csv", rate=1.0)
    assert "cannot be used: no window of 80 frames" in capsys.readouterr().out
    (tmp_path / "notes.txt").write_text("no")
    for name, words in (("notes.txt", "looks like no recording"), ("none.nwb", "nothing at")):
        with pytest.raises(CalmError, match=words):
            calm.inspect(tmp_path / name)
