"""The files of the cohort: the layout of DANDI:000579, the truth beside them, made once and whole."""

import json
import warnings

import filelock
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from pynwb import NWBHDF5IO, validate

from calm.config import CohortConfig
from calm.errors import CalmError
from calm.synthetic import cohort_files
from calm.synthetic.cohort import plan_cohort
from calm.synthetic.cohort_files import make_cohort
from calm.synthetic.maze import CYCLE, PLANES, STEM
from calm.synthetic.truth import read_truth, simulate_session

TINY = CohortConfig(session_share=0, min_sessions=1, neuron_share=0.001, min_neurons=18, trials=8, block=(3, 4))
TRIAL_COLUMNS = [
    *("start_time", "stop_time", "is_vis", "is_ruleA", "is_switch", "is_cueB", "is_choL", "is_correct"),
    *("association_mat", "rule_belief", "signed_bias", "rule_following", "bias_following", "prob_actual_cho"),
    *("trial_onset_plane_frame_idx", "trial_offset_plane_frame_idx"),
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The files of one session of each mouse."""
    return make_cohort(TINY, tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def nwb(cohort):
    """The first of them, open, with everything that was simulated for it."""
    with warnings.catch_warnings(), NWBHDF5IO(cohort[0], "r") as io:
        yield io.read()


@pytest.fixture(scope="module")
def session():
    return simulate_session(plan_cohort(TINY)[0], TINY)


@pytest.fixture
def cheap(monkeypatch, session):
    """Sessions that are simulated only once and written as a few bytes, and a list of those that were."""
    written = []

    def write(plan, behaviour, truth, path):
        written.append(plan.name)
        path.write_text(plan.name)

    monkeypatch.setattr(cohort_files, "simulate_session", lambda plan, config: session)
    monkeypatch.setattr(cohort_files, "write_session_file", write)
    return written


def test_files_are_named_like_the_real_ones(cohort, nwb):
    assert [path.parent.name for path in cohort] == [f"sub-{mouse}" for mouse in range(3, 11)]
    assert cohort[0].name.startswith("sub-3_ses-mouse-3-session-date-2017-")
    assert cohort[0].name.endswith("-multi-plane-imaging_behavior+ophys.nwb")
    assert nwb.session_id.startswith("mouse_3_session_date_2017-") and nwb.session_id.endswith("_multi_plane_imaging")
    assert nwb.session_id.replace("_", "-") in cohort[0].name and nwb.subject.subject_id == "3"


def test_files_are_valid_nwb(cohort):
    assert validate(path=str(cohort[0])) == []


def test_files_have_no_critical_fault(cohort):
    inspector = pytest.importorskip("nwbinspector")
    found = {message.importance.name for message in inspector.inspect_nwbfile(nwbfile_path=str(cohort[0]))}
    assert found <= {"BEST_PRACTICE_VIOLATION", "BEST_PRACTICE_SUGGESTION"}  # the layout's own


def test_frames_of_a_plane_are_those_with_its_index(nwb, session):
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


def test_containers_have_the_names_and_units_of_the_layout(nwb):
    ophys, behaviour = nwb.processing["ophys"], nwb.processing["behavior"]
    planes = {f"{kind}_plane_{plane}" for kind in ("df_over_f", "deconvolved_activity") for plane in range(PLANES)}
    assert set(ophys.data_interfaces) == planes | {"ImageSegmentation"}
    units = {
        "frame_aligned_trial_number": "N.A.",
        "frame_aligned_time_from_choice_point": "s",
        "plane_idx_for_imaging_frames": "N.A.",
    }
    assert set(behaviour.data_interfaces) == {*units, "frame_aligned_position", "frame_aligned_velocity"}
    assert {name: behaviour[name].unit for name in units} == units
    velocity = behaviour["frame_aligned_velocity"]["frame_aligned_pitch_roll_yaw_velocity"]
    assert velocity.unit == ophys["deconvolved_activity_plane_3"].unit == "A.U." and velocity.data.shape[1] == 3
    for plane in range(PLANES):
        rois = ophys["ImageSegmentation"][f"PlaneSegmentation_{plane}"].to_dataframe()
        assert list(rois.columns) == ["pixel_mask", "ml", "ap", "depth", "area"]
        assert all(len(mask) == 9 for mask in rois["pixel_mask"])
        assert set(rois["area"]) == {"A" if "visA" in nwb.session_id else nwb.session_id.split("_")[6]}


def test_timestamps_are_stored_once(cohort):
    with h5py.File(cohort[0]) as file:
        behaviour, ophys = file["processing/behavior"], file["processing/ophys"]
        position = behaviour["frame_aligned_position/frame_aligned_forward_and_lateral_position/timestamps"]
        assert position == behaviour["frame_aligned_trial_number/timestamps"]
        assert position == behaviour["frame_aligned_velocity/frame_aligned_pitch_roll_yaw_velocity/timestamps"]
        shared = ophys["df_over_f_plane_2/dF_over_F_plane_2/timestamps"]
        assert shared == ophys["deconvolved_activity_plane_2/timestamps"]


def test_behaviour_in_the_file_is_that_of_the_mouse(nwb, session):
    behaviour, stored = session[0], nwb.processing["behavior"]
    position = stored["frame_aligned_position"]["frame_aligned_forward_and_lateral_position"]
    velocity = stored["frame_aligned_velocity"]["frame_aligned_pitch_roll_yaw_velocity"]
    np.testing.assert_array_equal(position.data[:], behaviour.position)
    np.testing.assert_array_equal(velocity.data[:], behaviour.velocity)
    np.testing.assert_array_equal(stored["frame_aligned_trial_number"].data[:], behaviour.number)


def test_trial_table_says_what_happened(nwb, session):
    trials, expected = nwb.trials.to_dataframe(), session[0].trials
    assert list(trials.columns) == TRIAL_COLUMNS and len(trials) == TINY.trials
    names = {
        "is_ruleA": "rule_a",
        "is_switch": "switch",
        "is_cueB": "black",
        "is_choL": "left",
        "is_correct": "correct",
    }
    for stored, column in names.items():
        assert trials[stored].dtype == bool
        np.testing.assert_array_equal(trials[stored], expected[column])
    rule = np.where(trials["is_ruleA"], trials["is_cueB"] == trials["is_choL"], trials["is_cueB"] != trials["is_choL"])
    np.testing.assert_array_equal(rule, trials["is_correct"])
    matrix = np.stack(trials["association_mat"])  # P(R|W), P(L|W), P(R|B), P(L|B)
    made = matrix[np.arange(len(trials)), (2 * trials["is_cueB"] + trials["is_choL"]).to_numpy()]
    np.testing.assert_allclose(made, trials["prob_actual_cho"])
    np.testing.assert_allclose(matrix[:, 0] + matrix[:, 1], 1)
    first, last = (np.stack(trials[f"trial_{edge}_plane_frame_idx"]) for edge in ("onset", "offset"))
    np.testing.assert_array_equal(first[:, :PLANES], session[1].bounds[:, :PLANES])
    assert np.all(np.min((last - first + 1)[:, :PLANES], axis=1) == session[1].bounds[:, PLANES])


def test_epochs_cut_each_trial_where_the_mouse_was(nwb):
    epochs, behaviour = nwb.epochs.to_dataframe(), nwb.processing["behavior"]
    position = behaviour["frame_aligned_position"]["frame_aligned_forward_and_lateral_position"]
    times, forward = position.timestamps[:], position.data[:, 0]
    kinds = ["maze", "maze_stem", "maze_arm", "feedback_delay", "feedback", "iti", "feedback_and_iti"]
    assert list(epochs["epoch_type"]) == kinds * TINY.trials
    numbers = behaviour["frame_aligned_trial_number"].data[:]
    for epoch in epochs.itertuples():
        inside = (times >= epoch.start_time - 1e-6) & (times <= epoch.stop_time + 1e-6)
        assert set(numbers[inside]) == {epoch.trial_id}
        where = forward[inside]
        expected = {"maze_stem": where <= STEM, "maze_arm": where > STEM, "maze": where > 0}
        assert np.all(expected.get(epoch.epoch_type, np.isnan(where)))


def test_truth_agrees_with_the_file(cohort, nwb):
    truth = read_truth(cohort[0])
    for plane in range(PLANES):
        recorded = nwb.processing["ophys"][f"df_over_f_plane_{plane}"][f"dF_over_F_plane_{plane}"].data[:].T
        expected = truth.traces(plane)
        residual = recorded - expected
        assert residual.std() == pytest.approx(TINY.imaging_noise, rel=0.03) and abs(residual.mean()) < 0.01
        same, shifted = (
            np.mean([np.corrcoef(pair)[0, 1] for pair in zip(recorded, np.roll(expected, by, axis=0), strict=True)])
            for by in (0, 1)
        )
        assert same > 0.9 > 0.7 > shifted
        spikes = truth.spikes[truth.population.plane(plane)]
        assert spikes.mean() == pytest.approx(truth.rates(plane).mean(), rel=0.2)


def test_truth_is_read_as_it_was_written(cohort, session):
    read, made = read_truth(cohort[0]), session[1]
    assert read.config == TINY and read.name == made.name
    np.testing.assert_array_equal(read.spikes, made.spikes)
    np.testing.assert_array_equal(read.bounds, made.bounds)
    for plane in range(PLANES):
        np.testing.assert_array_equal(read.rates(plane), made.rates(plane))


def test_tuning_table_has_a_row_for_every_neuron_of_the_file(cohort, nwb):
    tuning = pd.read_csv(cohort[0].with_suffix(".tuning.csv"))
    for plane, part in tuning.groupby("plane"):
        rois = nwb.processing["ophys"]["ImageSegmentation"][f"PlaneSegmentation_{plane}"].to_dataframe()
        np.testing.assert_array_equal(part["roi"], rois.index)
        np.testing.assert_allclose(part["depth"], rois["depth"])
    assert {"cue", "choice", "position", "place", "speed"} <= set(tuning.columns)


def test_description_names_the_files_of_this_cohort_and_no_others(cohort):
    folder = cohort[0].parents[1]
    description = yaml.safe_load((folder / "cohort.yaml").read_text())
    assert [folder / name for name in description.pop("files")] == cohort
    assert description == {
        "name": "cohort",
        "layout": "dandi_000579",
        "held_out": ["6", "10"],
        "context": 40,
        "horizon": 24,
        "smoothing": 0.15,
        "min_frames": 60,
        "max_frames": 200,
    }


def test_a_cohort_is_made_once(tmp_path, cheap):
    paths = make_cohort(TINY, tmp_path)
    assert len(cheap) == len(paths) == 8
    assert make_cohort(TINY, tmp_path) == paths and len(cheap) == 8


def test_more_sessions_add_files_and_other_numbers_replace_them(tmp_path, cheap):
    make_cohort(TINY, tmp_path)
    make_cohort(TINY.model_copy(update={"min_sessions": 2}), tmp_path)
    assert len(cheap) == len(set(cheap)) == 16
    make_cohort(TINY.model_copy(update={"cue": 0.1}), tmp_path)
    assert len(cheap) == 24


def test_a_crash_leaves_nothing_half_written_and_is_gone_on_from(tmp_path, cheap, monkeypatch):
    whole = cohort_files.write_session_file

    def die(plan, behaviour, truth, path):
        whole(plan, behaviour, truth, path)
        if len(cheap) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cohort_files, "write_session_file", die)
        make_cohort(TINY, tmp_path)
    assert len(list(tmp_path.rglob("*.nwb"))) == 3 and not (tmp_path / "cohort.yaml").exists()
    assert not any(path.name.startswith(".partial") for path in tmp_path.iterdir())
    paths = make_cohort(TINY, tmp_path)
    assert len(cheap) == 4 + 5 and all(path.exists() for path in paths)


@pytest.mark.parametrize("damage", ["nwb", "truth.safetensors", "tuning.csv", "manifest"])
def test_a_damaged_or_missing_file_is_made_again(tmp_path, cheap, damage):
    paths = make_cohort(TINY, tmp_path)
    if damage == "manifest":
        (tmp_path / "manifest.json").write_text("{")
    else:
        victim = paths[2].with_suffix(f".{damage}")
        victim.write_bytes(victim.read_bytes()[:-1])
    make_cohort(TINY, tmp_path)
    assert len(cheap) == (16 if damage == "manifest" else 9)
    make_cohort(TINY, tmp_path)
    assert len(cheap) == (16 if damage == "manifest" else 9)


def test_two_runs_in_one_folder_are_refused(tmp_path, cheap):
    def second(*_):
        with pytest.raises(CalmError, match="Another process"):
            make_cohort(TINY, tmp_path)
        raise ZeroDivisionError

    cohort_files.write_session_file = second  # the fixture puts it back
    with pytest.raises(ZeroDivisionError):
        make_cohort(TINY, tmp_path)


def test_a_cohort_that_is_whole_can_be_used_by_several_runs_at_once(tmp_path, cheap):
    paths = make_cohort(TINY, tmp_path)
    with filelock.FileLock(tmp_path / ".lock"):
        assert make_cohort(TINY, tmp_path) == paths
    assert len(cheap) == len(paths)


def test_a_full_disk_is_told_in_a_sentence(tmp_path, cheap, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cohort_files, "write_truth", full)
    with pytest.raises(CalmError, match="No space left"):
        make_cohort(TINY, tmp_path)
    assert not list(tmp_path.rglob("*.nwb"))


def test_damaged_truth_is_refused(cohort, tmp_path):
    content = cohort[1].with_suffix(".truth.safetensors").read_bytes()
    (tmp_path / "a.truth.safetensors").write_bytes(content[:-50])
    with pytest.raises(CalmError, match="is damaged"):
        read_truth(tmp_path / "a.nwb")


def test_manifest_has_a_checksum_of_every_file(cohort):
    folder = cohort[0].parents[1]
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {name for entry in manifest.values() for name in entry["files"]}
    assert files == {str(path.relative_to(folder)) for path in folder.glob("sub-*/*")}
