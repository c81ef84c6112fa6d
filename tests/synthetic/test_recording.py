"""The file of a synthetic session says what happened, in the layout of DANDI:000579, and its truth fits it."""

import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from damage import flip
from pynwb import NWBHDF5IO, validate

from calm.data.session import drop_neurons
from calm.errors import CalmError
from calm.storage import write_manifest
from calm.synthetic.maze import CYCLE, PLANES, STEM
from calm.synthetic.network import expected_spikes
from calm.synthetic.population import network_config
from calm.synthetic.truth import drive_sources, read_truth, under_trials

NEURONS = np.array([17, 0, 5, 9])  # of several planes
TRIALS = np.array([1, 2, 4])


@pytest.fixture(scope="module")
def nwb(file):
    """The file, open."""
    with warnings.catch_warnings(), NWBHDF5IO(file, "r") as io:
        yield io.read()


@pytest.fixture(scope="module")
def truth(file):
    return read_truth(file)


# --- The file


def test_a_file_is_called_like_the_real_one(plan, nwb):
    assert plan.path.split("/")[-1].startswith("sub-3_ses-mouse-3-session-date-2017-")
    assert plan.path.endswith("-multi-plane-imaging_behavior+ophys.nwb")
    assert nwb.session_id.startswith("mouse_3_session_date_2017-") and nwb.session_id.endswith("_multi_plane_imaging")
    assert nwb.session_id.replace("_", "-") in plan.path and nwb.subject.subject_id == "3"


def test_a_file_is_valid_nwb(file):
    assert validate(path=str(file)) == []


def test_a_file_has_no_critical_fault(file):
    inspector = pytest.importorskip("nwbinspector")
    faults = {message.importance.name for message in inspector.inspect_nwbfile(nwbfile_path=str(file))}
    assert faults <= {"BEST_PRACTICE_VIOLATION", "BEST_PRACTICE_SUGGESTION"}  # the layout's own


def test_images_of_a_plane_are_those_with_its_index(nwb):
    behaviour = nwb.processing["behavior"]
    index = behaviour["plane_idx_for_imaging_frames"].data[:]
    position = behaviour["frame_aligned_position"]["frame_aligned_forward_and_lateral_position"]
    times = position.timestamps[:]
    assert set(index) == set(range(CYCLE)) and len(index) == len(times)
    assert np.diff(times) == pytest.approx(1 / 30)
    for plane in range(PLANES):
        series = nwb.processing["ophys"][f"df_over_f_plane_{plane}"][f"dF_over_F_plane_{plane}"]
        np.testing.assert_allclose(series.timestamps[:], times[index == plane])
        assert series.data.shape == (np.sum(index == plane), len(series.rois)) and series.data.dtype == np.float64


def test_neurons_know_their_place(nwb, session):
    rois = nwb.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation_0"].to_dataframe()
    assert list(rois.columns) == ["pixel_mask", "ml", "ap", "depth", "area"]
    area = nwb.session_id.split("_")[6]
    assert set(session.neurons["session_area"]) == set(session.neurons["area"]) == {area}
    assert session.neurons["depth"].nunique() == PLANES


def test_timestamps_are_stored_once(file):
    with h5py.File(file) as stored:
        behaviour = stored["processing/behavior"]
        position = behaviour["frame_aligned_position/frame_aligned_forward_and_lateral_position/timestamps"]
        assert position == behaviour["frame_aligned_trial_number/timestamps"]
        assert position == behaviour["frame_aligned_velocity/frame_aligned_pitch_roll_yaw_velocity/timestamps"]


def test_behaviour_in_the_file_is_that_of_the_mouse(nwb, simulated):
    behaviour, stored = simulated[0], nwb.processing["behavior"]
    position = stored["frame_aligned_position"]["frame_aligned_forward_and_lateral_position"]
    velocity = stored["frame_aligned_velocity"]["frame_aligned_pitch_roll_yaw_velocity"]
    np.testing.assert_array_equal(position.data[:], behaviour.position)
    np.testing.assert_array_equal(velocity.data[:], behaviour.velocity)
    np.testing.assert_array_equal(stored["frame_aligned_trial_number"].data[:], behaviour.trial_number)


def test_trials_say_what_happened(session, simulated):
    trials, expected = session.trials, simulated[0].trials
    names = {"is_ruleA": "rule_a", "is_switch": "switch", "is_cueB": "black", "is_choL": "left"}
    for stored, column in (names | {"is_correct": "correct"}).items():
        assert trials[stored].dtype == bool
        np.testing.assert_array_equal(trials[stored], expected[column])
    rule = np.where(trials["is_ruleA"], trials["is_cueB"] == trials["is_choL"], trials["is_cueB"] != trials["is_choL"])
    np.testing.assert_array_equal(rule, trials["is_correct"])


def test_every_trial_is_read_with_all_volumes_that_all_planes_have(session, simulated):
    np.testing.assert_array_equal(session.frames, simulated[1].trial_volumes)


def test_epochs_cut_each_trial_where_the_mouse_was(nwb):
    epochs, behaviour = nwb.epochs.to_dataframe(), nwb.processing["behavior"]
    position = behaviour["frame_aligned_position"]["frame_aligned_forward_and_lateral_position"]
    times, forward = position.timestamps[:], position.data[:, 0]
    numbers = behaviour["frame_aligned_trial_number"].data[:]
    assert list(epochs["epoch_type"]) == ["maze_stem", "maze_arm"] * len(nwb.trials)
    for epoch in epochs.itertuples():
        inside = (times >= epoch.start_time - 1e-6) & (times <= epoch.stop_time + 1e-6)
        assert set(numbers[inside]) == {epoch.trial_id}
        assert np.all((forward[inside] <= STEM) == (epoch.epoch_type == "maze_stem"))


# --- The truth beside it


def test_traces_are_the_noise_free_ones_and_imaging_noise(truth, session, tiny):
    everyone, everything = np.arange(len(session.neurons)), np.arange(len(session.traces))
    clean = under_trials(truth, session, everyone, everything, truth.traces)
    recorded = np.concatenate(session.traces, axis=1)
    noise = recorded - clean
    assert noise.std(axis=1) == pytest.approx(np.full(len(noise), tiny.imaging_noise), rel=0.2)
    assert noise.std() == pytest.approx(tiny.imaging_noise, rel=0.03) and abs(noise.mean()) < 0.01
    same, others = (
        np.mean([np.corrcoef(pair)[0, 1] for pair in zip(recorded, np.roll(clean, by, axis=0), strict=True)])
        for by in (0, 1)
    )
    assert same > 0.9 > 0.7 > others
    assert truth.spikes[truth.of_plane(1)].mean() == pytest.approx(truth.rates(1).mean(), rel=0.2)


def test_truth_is_read_as_it_was_written(truth, simulated, tiny):
    made = simulated[1]
    assert truth.config == tiny and truth.name == made.name
    for name in ("spikes", "trial_starts", "trial_volumes"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(made, name))
    for plane in range(PLANES):
        np.testing.assert_array_equal(truth.rates(plane), made.rates(plane))


def test_tuning_table_has_a_row_for_every_neuron_of_the_file(file, session):
    tuning = pd.read_csv(file.with_suffix(".tuning.csv"))
    np.testing.assert_array_equal(tuning[["plane", "roi"]], session.neurons[["plane", "id"]])
    np.testing.assert_allclose(tuning[["ml", "ap", "depth"]], session.neurons[["ml", "ap", "depth"]])
    assert {"cue", "choice", "position", "place", "speed"} <= set(tuning.columns)


def test_damaged_truth_and_a_file_without_are_refused(file, tmp_path):
    content = file.with_suffix(".truth.safetensors").read_bytes()
    (tmp_path / "a.truth.safetensors").write_bytes(content[:-50])
    with pytest.raises(CalmError, match="truncated, damaged"):
        read_truth(tmp_path / "a.nwb")
    with pytest.raises(CalmError, match="only calm's synthetic sessions"):
        read_truth(tmp_path / "real.nwb")


def test_any_flipped_bit_of_a_truth_that_was_stored_is_noticed(file, tmp_path):
    path, rng = tmp_path / "a.truth.safetensors", np.random.default_rng(0)
    content = file.with_suffix(".truth.safetensors").read_bytes()
    path.write_bytes(content)
    write_manifest(tmp_path, {})
    assert read_truth(tmp_path / "a.nwb").name == read_truth(file).name
    for place in rng.integers(len(content), size=20):
        path.write_bytes(content)
        flip(path, place, rng.integers(8))
        with pytest.raises(CalmError, match="is damaged"):
            read_truth(tmp_path / "a.nwb")


def test_neurons_that_are_left_out_do_not_shift_the_others(truth, session):
    fewer = drop_neurons(session, np.array([0, 6]))
    whole = under_trials(truth, session, np.array([1, 7, 17]), TRIALS, truth.rates)
    np.testing.assert_array_equal(under_trials(truth, fewer, np.array([0, 5, 15]), TRIALS, truth.rates), whole)


@pytest.mark.parametrize("neuron", NEURONS)
def test_sources_of_the_drive_add_up_to_the_rate(truth, session, tiny, neuron):
    sources = drive_sources(truth, session, int(neuron), TRIALS)
    rates = under_trials(truth, session, np.array([neuron]), TRIALS, truth.rates)[0]
    np.testing.assert_allclose(expected_spikes(sources.sum(axis=1).to_numpy(), network_config(tiny)), rates, rtol=1e-9)
    assert np.ptp(sources["baseline"]) == 0 and (sources.drop(columns="baseline").std() > 0).all()


def test_the_cue_drives_on_the_stem_only(truth, session):
    trial = session.trials.iloc[1]
    cue = drive_sources(truth, session, 5, np.array([1]))["cue"].to_numpy()
    weight = truth.neurons["cue"].iloc[5] * (1 if trial["is_cueB"] else -1)
    np.testing.assert_allclose(cue[1 : trial["arm_frame"] - 1], weight, rtol=1e-6)
    assert (cue[trial["arm_frame"] + 1 : trial["maze_frames"]] == 0).all()
