"""What Suite2p and CaImAn wrote, read with the right values; nothing in it is ever unpickled."""

import dataclasses

import numpy as np
import pytest
from source_files import RATE, caiman_file, random_fluorescence, suite2p_plane

from calm.data.dff import Baseline, delta_f_over_f
from calm.data.readers.pipelines import read_caiman, read_suite2p
from calm.data.recording import fill_gaps, keep_neurons, make_recording
from calm.errors import CalmError

# --- Suite2p


def test_neuropil_is_subtracted_and_cells_are_told(tmp_path):
    traces, around = random_fluorescence(), random_fluorescence(seed=1)
    suite2p_plane(tmp_path / "sub-m3" / "suite2p" / "plane0", traces, neuropil=around, cells=[1, 0, 1])
    recording = read_suite2p(tmp_path / "sub-m3" / "suite2p", rate=RATE)
    np.testing.assert_allclose(recording.traces, traces - 0.7 * around, rtol=1e-5)
    assert recording.neurons["iscell"].tolist() == [True, False, True]
    assert (recording.name, recording.subject, recording.rate) == ("sub-m3", "m3", RATE)
    np.testing.assert_allclose(recording.timestamps, np.arange(100) / RATE)
    other = read_suite2p(tmp_path / "sub-m3" / "suite2p" / "plane0", rate=RATE, neuropil=0.0)
    np.testing.assert_array_equal(other.traces, traces)


def test_planes_come_in_the_order_of_their_numbers_and_may_lack_the_last_frame(tmp_path):
    for plane, frames in ((0, 100), (2, 99), (10, 99)):
        suite2p_plane(tmp_path / f"plane{plane}", np.full((2, frames), plane + 1.0), neuropil=np.zeros((2, frames)))
    suite2p_plane(tmp_path / "combined", np.full((6, 99), 77.0))
    recording = read_suite2p(tmp_path, rate=RATE)
    assert recording.traces.shape == (6, 99)
    assert recording.traces[:, 0].tolist() == [1, 1, 3, 3, 11, 11]
    assert recording.neurons["plane"].tolist() == [0, 0, 1, 1, 2, 2]
    suite2p_plane(tmp_path / "plane11", np.ones((2, 90)), neuropil=np.zeros((2, 90)))
    with pytest.raises(CalmError, match="100, 99, 99, 90 frames"):
        read_suite2p(tmp_path, rate=RATE)


def test_missing_neuropil_is_told(tmp_path):
    suite2p_plane(tmp_path / "plane0", random_fluorescence())
    with pytest.warns(UserWarning, match=r"no Fneu\.npy"):
        read_suite2p(tmp_path, rate=RATE)


def test_a_pickle_is_never_loaded(tmp_path):
    plane = suite2p_plane(tmp_path / "plane0", random_fluorescence(), neuropil=random_fluorescence())
    np.save(plane / "F.npy", np.array([print, None], dtype=object), allow_pickle=True)
    with pytest.raises(CalmError, match="damaged or no array of numbers"):
        read_suite2p(tmp_path, rate=RATE)


@pytest.mark.parametrize(
    ("neuropil", "cells", "words"),
    [((3, 90), [1, 1, 1], r"Fneu\.npy \(3, 90\)"), ((3, 100), [1, 1], r"3 ROIs, but iscell\.npy 2")],
)
def test_files_of_different_runs_are_refused(tmp_path, neuropil, cells, words):
    suite2p_plane(tmp_path / "plane0", random_fluorescence(), neuropil=np.zeros(neuropil), cells=cells)
    with pytest.raises(CalmError, match=words):
        read_suite2p(tmp_path, rate=RATE)


def test_a_folder_that_is_not_suite2ps_is_refused(tmp_path):
    with pytest.raises(CalmError, match=r"neither F\.npy nor plane0"):
        read_suite2p(tmp_path, rate=RATE)


# --- CaImAn


def test_caimans_dff_or_its_denoised_traces(tmp_path):
    denoised, dff = random_fluorescence(), random_fluorescence(seed=1)
    both = caiman_file(tmp_path / "both.hdf5", C=denoised, F_dff=dff, idx_components=np.array([0, 2]))
    recording = read_caiman(both)
    np.testing.assert_array_equal(recording.traces, dff)
    assert recording.neurons["accepted"].tolist() == [True, False, True] and recording.rate == RATE
    one = read_caiman(caiman_file(tmp_path / "one.hdf5", C=denoised, F_dff=None, idx_components=None), rate=5.0)
    np.testing.assert_array_equal(one.traces, denoised)
    assert "accepted" not in one.neurons and one.rate == 5.0


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CalmError, match="neither estimates/F_dff nor estimates/C"):
        read_caiman(caiman_file(tmp_path / "empty.hdf5", C=None))
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(CalmError, match="not HDF5"):
        read_caiman(tmp_path / "text.hdf5")


# --- Which neurons


@pytest.fixture
def recording():
    made = make_recording(random_fluorescence(4), name="a", rate=RATE)
    columns = {"area": ["V1", "LM", "V1", "AL"], "snr": [1.0, 2.0, 3.0, 4.0], "iscell": [True, True, False, True]}
    return dataclasses.replace(made, neurons=made.neurons.assign(**columns))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"area": ("V1",)}, [0, 2]),
        ({"area": ("V1", "AL"), "iscell": (True,)}, [0, 3]),
        ({"iscell": (1,)}, [0, 1, 3]),
        ({"snr": ("> 2",)}, [2, 3]),
        ({"snr": (">=2", 1.0)}, [0, 1, 2, 3]),
    ],
)
def test_neurons_are_kept_by_what_their_table_says(recording, wanted, ids):
    kept = keep_neurons(recording, wanted)
    assert kept.neurons["id"].tolist() == ids
    np.testing.assert_array_equal(kept.traces, recording.traces[ids])


def test_unknown_columns_and_empty_choices_are_refused(recording):
    with pytest.raises(CalmError, match="no column 'layer' to `keep`: they have id, area, snr, iscell"):
        keep_neurons(recording, {"layer": ("1",)})
    with pytest.raises(CalmError, match="none of 4 neurons"):
        keep_neurons(recording, {"snr": ("> 9",)})


# --- Gaps


def test_short_gaps_of_a_neuron_become_straight_lines_and_all_else_stays():
    whole = np.arange(60.0).reshape(3, 20)
    traces = whole.copy()
    traces[0, 3:5] = traces[1, 4] = traces[2, 10:12] = np.nan  # short
    traces[1, 8:13] = np.nan  # long
    traces[0, :2] = traces[0, -1] = np.nan  # at the ends
    traces[:, 15] = np.nan  # nothing was recorded
    recording = dataclasses.replace(make_recording(whole, name="a", rate=RATE), traces=traces)
    with pytest.warns(UserWarning, match=r"^a: 5 values \(8.33%\) are NaN for up to 2 frames on end"):
        filled = fill_gaps(recording, 2).traces
    expected = traces.copy()
    for neuron, frame in ((0, 3), (0, 4), (1, 4), (2, 10), (2, 11)):
        expected[neuron, frame] = whole[neuron, frame]
    np.testing.assert_allclose(filled, expected)
    assert fill_gaps(recording, 0) is recording


def test_a_gap_is_as_long_as_all_that_is_missing_on_end():
    traces = np.arange(20.0).reshape(2, 10)
    traces[0, 3:6] = traces[1, 5] = np.nan  # frame 5 is lost in both
    recording = dataclasses.replace(make_recording(np.ones((2, 10)), name="a", rate=RATE), traces=traces)
    np.testing.assert_array_equal(fill_gaps(recording, 2).traces, traces)
    with pytest.warns(UserWarning, match="2 values"):
        np.testing.assert_allclose(fill_gaps(recording, 3).traces[0], [0, 1, 2, 3, 4, np.nan, 6, 7, 8, 9])


# --- dF/F


def test_a_known_transient_on_a_drifting_baseline():
    frames = np.arange(2000)
    baseline = 100 + 0.02 * frames  # 2 a minute at 10 Hz
    transients = np.where(frames % 200 < 20, 0.5, 0.0)
    noisy = baseline * (1 + transients)
    recording = make_recording(noisy[None], name="a", rate=RATE)
    dff = delta_f_over_f(recording, Baseline(percentile=50, window=60)).traces[0]
    inner = slice(300, -300)  # at the ends the window is mirrored
    np.testing.assert_allclose(dff[inner], transients[inner], atol=0.015)


def test_scale_does_not_matter_and_the_percentile_does():
    recording = make_recording(random_fluorescence(), name="a", rate=RATE)
    scaled = dataclasses.replace(recording, traces=3 * recording.traces)
    low, high = Baseline(percentile=8), Baseline(percentile=50)
    np.testing.assert_allclose(delta_f_over_f(recording, low).traces, delta_f_over_f(scaled, low).traces, atol=1e-5)
    assert (delta_f_over_f(recording, low).traces > delta_f_over_f(recording, high).traces).mean() > 0.99
    share = (delta_f_over_f(recording, low).traces < 0).mean()
    assert 0.05 < share < 0.12  # of frames below a running 8th percentile


def test_a_baseline_at_zero_is_told():
    traces = random_fluorescence()
    traces[1] -= 100
    with pytest.warns(UserWarning, match="1 of 3 neurons have no dF/F"):
        dff = delta_f_over_f(make_recording(traces, name="a", rate=RATE), Baseline())
    assert np.isnan(dff.traces[1]).all() and np.isfinite(dff.traces[[0, 2]]).all()
