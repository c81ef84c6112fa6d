"""NWB files as laboratories write them: behaviour on clocks of its own, trials from anywhere, and what is refused."""

import sys
from functools import partial

import h5py
import numpy as np
import pytest
from hdmf_zarr import NWBZarrIO
from nwb_files import add_behaviour, add_traces, add_trials, new_file, plain_file, random_traces, save
from pynwb import NWBHDF5IO
from pynwb.epoch import TimeIntervals
from pynwb.ophys import DfOverF, RoiResponseSeries

from calm.data.intervals import SPLIT_GROUP, Trials, Windows
from calm.data.readers.nwb import read_session
from calm.data.resampling import resampled
from calm.errors import CalmError

TRIALS = [(4.0 * trial, 4.0 * trial + 4) for trial in range(10)]
LICKS = np.sort(np.random.default_rng(0).uniform(0.5, 39.5, 100))
CLOCK = (np.arange(400) + 0.5) / 10


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """400 frames at 10 Hz of 6 ROIs, ten trials, licks, 1 kHz pulses, 50 Hz speed with a gap, and other tables."""
    nwb = new_file()
    add_traces(nwb, random_traces(400, 6))
    add_behaviour(nwb, "licks", np.ones(100), timestamps=LICKS)
    pulses = np.zeros(40_001)
    pulses[25::50] = 1
    add_behaviour(nwb, "pulses", pulses, rate=1000.0, starting_time=0.0)
    times = np.arange(0, 40.02, 0.02)
    times = times[(times < 14) | (times > 26)]
    add_behaviour(nwb, "speed", np.sin(times), timestamps=times)
    add_behaviour(nwb, "door", [0, 1, 0, 1, 1, 0], timestamps=[0.0, 7.0, 7.5, 20.0, 25.0, 38.0])
    add_trials(nwb, TRIALS)
    for name, rows in (("odd", TRIALS[1::2]), ("even", TRIALS[::2])):
        table = TimeIntervals(name=name, description="test")
        for start, stop in rows:
            table.add_row(start_time=start, stop_time=stop)
        nwb.add_time_intervals(table)
    return save(nwb, tmp_path_factory.mktemp("nwb") / "a.nwb")


def channel(session) -> np.ndarray:
    """The first behaviour on all frames."""
    return np.concatenate(session.behaviour)[:, 0]


def refused(path, *words, **wanted):
    with pytest.raises(CalmError) as error:
        read_session(path, **wanted)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and all(word in text for word in words), text


# --- Behaviour


def test_events_are_counted_and_the_guess_is_told(path):
    with pytest.warns(UserWarning, match=r"behavior/licks is read as events: .*{licks: events}"):
        counts = channel(read_session(path, behaviour=("licks",)))
    assert counts.tolist() == np.histogram(LICKS, np.arange(401) / 10)[0].tolist()


@pytest.mark.filterwarnings("error")
def test_a_kind_that_is_said_is_no_guess(path):
    assert channel(read_session(path, behaviour={"licks": "events"})).sum() == 100
    door = channel(read_session(path, behaviour={"door": "steps"}))
    assert (door[:70] == 0).all() and (door[70:75] == 1).all() and (door[200:380] == 1).all() and not door[380:].any()


@pytest.mark.filterwarnings("error")
def test_samples_are_averaged_over_frames_and_missing_in_gaps(path):
    np.testing.assert_allclose(channel(read_session(path, behaviour=("pulses",))), 0.02, rtol=1e-4)
    speed = channel(read_session(path, behaviour=("speed",)))
    inside = (CLOCK < 14) | (CLOCK > 26)
    assert np.array_equal(np.isfinite(speed), inside)
    np.testing.assert_allclose(speed[inside], np.sin(CLOCK)[inside], atol=0.02)


# --- Trials from anywhere


def test_trials_of_other_tables_may_be_joined(path):
    session = read_session(path, trials=Trials(tables=("odd", "even")))
    assert session.trials["table"].tolist() == ["odd"] * 5 + ["even"] * 5 and set(session.frames) == {40}
    refused(path, "no table of intervals called 'none'", "even, odd, trials", trials=Trials(tables=("none",)))


def test_trials_around_events(path):
    session = read_session(path, trials=Trials(events="door", before=1.0, after=3.0))
    assert session.trials["event_time"].tolist() == [7.0, 20.0]  # where the door opens
    assert session.frames.tolist() == [40, 40]
    refused(path, "'go'", "leave `conditions` out", trials=Trials(events="door"), conditions=("go",))


def test_windows_need_no_trials(path):
    session = read_session(path, windows=Windows(length=40))
    assert set(session.frames) == {40} and SPLIT_GROUP in session.trials


def test_resampling_brings_traces_and_behaviour_to_another_rate(path):
    session = read_session(path, process=partial(resampled, rate=5.0), behaviour={"licks": "events"})
    assert session.rate == 5.0 and set(session.frames) == {20}
    assert channel(session).sum() == 100


def test_without_a_trial_table_windows_and_other_tables_are_offered(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    table = TimeIntervals(name="stimuli", description="test")
    table.add_row(start_time=0.0, stop_time=1.0)
    nwb.add_time_intervals(table)
    refused(save(nwb, tmp_path / "a.nwb"), "no trial table", "(stimuli) under `trials`", "`windows: {length: 80}`")


# --- What is refused


def test_series_of_one_name_in_several_modules(tmp_path):
    nwb = new_file()
    rois = add_traces(nwb, random_traces()).rois.table
    module = nwb.create_processing_module(name="ophys2", description="test")
    module.add(DfOverF())
    region = rois.create_roi_table_region(region=[0, 1, 2], description="all")
    series = RoiResponseSeries(name="RoiResponseSeries", data=random_traces(seed=1), unit="", rois=region, rate=10.0)
    module["DfOverF"].add_roi_response_series(series)
    add_trials(nwb, [(float(second), second + 0.9) for second in range(9)])
    path, names = save(nwb, tmp_path / "a.nwb"), ("ophys/DfOverF/RoiResponseSeries", "ophys2/DfOverF/RoiResponseSeries")
    refused(path, "several", *names)
    refused(path, "several", *names, traces=("DfOverF/RoiResponseSeries",))
    for name, seed in zip(names, (0, 1), strict=True):
        trace = read_session(path, traces=(name,)).traces[0]
        np.testing.assert_array_equal(trace.T, random_traces(seed=seed)[:9])


def test_a_clock_in_milliseconds(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces(), timestamps=100.0 * np.arange(100))
    add_trials(nwb, TRIALS)
    refused(save(nwb, tmp_path / "a.nwb"), "100 s apart", "not in milliseconds")


def test_an_roi_table_without_rows(tmp_path):
    path = plain_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        rois = file["processing/ophys/DfOverF/RoiResponseSeries/rois"]
        attributes = dict(rois.attrs)
        del file["processing/ophys/DfOverF/RoiResponseSeries/rois"]
        empty = file["processing/ophys/DfOverF/RoiResponseSeries"].create_dataset("rois", data=np.empty(0, int))
        empty.attrs.update(attributes)
    with pytest.warns(UserWarning, match="does not match the length of rois"):
        refused(path, "no row in its ROI table")


@pytest.mark.parametrize("place", ["attribute", "dataset"])
def test_a_file_of_nwb_1(tmp_path, place):
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        if place == "attribute":
            file.attrs["nwb_version"] = "1.0.5"
        else:
            file["nwb_version"] = "NWB-1.0.5"
    refused(tmp_path / "a.nwb", "NWB 1.0.5", "convert")


@pytest.mark.filterwarnings("ignore:.*altered/broken|.*Length of data|.*does not match")
def test_a_link_to_nothing(tmp_path):
    path = plain_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        del file["processing/ophys/DfOverF/RoiResponseSeries/data"]
        file["processing/ophys/DfOverF/RoiResponseSeries/data"] = h5py.ExternalLink("gone.h5", "/data")
    refused(path, "links to gone.h5, not found")


def test_a_zarr_folder_is_read(tmp_path):
    path, folder = plain_file(tmp_path / "a.nwb"), tmp_path / "a.nwb.zarr"
    with NWBHDF5IO(path, "r") as source, NWBZarrIO(str(folder), "w") as target:
        target.export(src_io=source, write_args={"link_data": False})
    assert read_session(folder).fingerprint() == read_session(path).fingerprint()


def test_a_zarr_folder_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.nwb.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "hdmf_zarr", None)
    refused(tmp_path / "a.nwb.zarr", "a.nwb.zarr", "pip install hdmf-zarr")
