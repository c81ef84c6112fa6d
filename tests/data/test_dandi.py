"""The layout of DANDI:000579: each number of a file goes where it belongs, and every defect of such files is met."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from dandi_files import ROIS, Recording, time, trace, velocity, write_dandi
from nwb_files import read_all

from calm.data.descriptions import load_dataset
from calm.data.preparation import prepare
from calm.data.readers.dandi_000579 import CONDITIONS, read_dandi_session
from calm.data.reading import load_sessions
from calm.errors import CalmError

ROOT = Path(__file__).parents[2]
# Rows of the traces and 30 Hz frames of the three trials of a plain file, which begin at frames 7, 40 and 67, plane by
# plane, counted by hand: a frame's plane is its number modulo 5, its row in that plane its number divided by 5.
ROWS = [
    [range(2, 8), range(2, 8), range(1, 7), range(1, 7)],  # planes 2 and 3 have a seventh frame, 37 and 38
    [range(8, 13), range(8, 13), range(8, 13), range(8, 13)],  # planes 0 and 1 have a sixth
    [range(14, 20), range(14, 20), range(13, 19), range(13, 19)],  # plane 2 has a seventh
]
FRAMES = [[[5 * row + plane for row in rows] for plane, rows in enumerate(planes)] for planes in ROWS]


def read(path: Path, **wanted):
    """A session whose trials may have any length."""
    return read_dandi_session(path, **{"min_frames": None, "max_frames": None} | wanted)


def written(tmp_path: Path, **defects) -> Path:
    """A plain file but for the defects."""
    return write_dandi(tmp_path / "a.nwb", Recording(**defects))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A file without defects."""
    return write_dandi(tmp_path_factory.mktemp("dandi") / "a.nwb")


def refused(path: Path, *words: str, **wanted) -> None:
    """Check that the file is refused in one sentence that holds the words."""
    with pytest.raises(CalmError) as error:
        read(path, **wanted)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    assert all(word in text for word in words), text


# --- What is read


def test_each_trace_has_the_rows_of_its_trial_and_plane(plain):
    session = read(plain)
    assert session.frames.tolist() == [6, 5, 6]
    for values, planes in zip(session.traces, ROWS, strict=True):
        expected = [trace(plane, np.array(rows), ROIS[plane]).T for plane, rows in enumerate(planes)]
        np.testing.assert_array_equal(values, np.concatenate(expected))
        assert values.dtype == np.float32 and values.flags.c_contiguous


def test_behaviour_is_the_mean_over_the_planes(plain):
    session = read(plain)
    assert session.behaviour_names == ("pitch", "roll", "yaw")
    np.testing.assert_array_equal(session.behaviour[0][:2], [[9, -18, 4.5], [14, -28, 7]])  # (10 + 11 + 7 + 8) / 4
    for values, planes in zip(session.behaviour, FRAMES, strict=True):
        np.testing.assert_allclose(values, np.mean([velocity(frames) for frames in planes], axis=0), rtol=1e-6)


def test_position_where_asked(plain):
    session = read(plain, behaviour=("lateral_position", "pitch", "forward_position"))
    assert session.behaviour_names == ("lateral_position", "pitch", "forward_position")
    np.testing.assert_allclose(session.behaviour[0][0], [0.009, 9, 0.09], rtol=1e-6)
    refused(plain, "'speed'", "pitch, roll, yaw", behaviour=("speed",))


def test_who_and_when(plain):
    session = read(plain)
    assert session.name == "mouse_9_session_date_2017-08-19_area_visA_L23_multi_plane_imaging"
    assert session.subject == "9" and session.rate == pytest.approx(6)


def test_trials_have_their_conditions_and_others_where_asked(plain):
    trials = read(plain, conditions=("rule_belief", "is_cueB")).trials
    assert list(trials)[2:7] == list(CONDITIONS)
    assert trials["is_cueB"].tolist() == [True, False, True] and trials["is_cueB"].dtype == bool
    assert trials["is_choL"].tolist() == [True, False, False] and trials["is_ruleA"].tolist() == [True, True, False]
    assert trials["is_correct"].tolist() == [True, False, True] and trials["is_switch"].tolist() == [False, False, True]
    np.testing.assert_allclose(trials["rule_belief"], [0, 0.1, 0.2])
    refused(plain, "'reward'", "is_cueB", conditions=("reward",))


def test_where_stem_and_arm_are(tmp_path):
    # Volumes of the first trial lie at frames 9, 14, 19, 24, 29 and 34 on the mean; it is in the arm from 18 to 26.
    trials = read(written(tmp_path, arms=(True, False, True))).trials
    assert trials["stem_frame"].tolist() == [0, 0, 0]
    assert trials["arm_frame"].tolist() == [2, 4, 2]
    assert trials["maze_frames"].tolist() == [4, 4, 4]  # the second mouse never left the stem: its arm is empty


def test_frames_before_the_stem_and_trials_without_epochs(tmp_path):
    path = written(tmp_path)
    with h5py.File(path, "a") as file:
        epochs = file["intervals/epochs"]
        first = (epochs["trial_id"][:] == 0) & (epochs["epoch_type"][:] == b"maze_stem")
        epochs["start_time"][first] = time(10)  # as if the trial began with what is left of another's pause
        epochs["trial_id"][epochs["trial_id"][:] == 2] = 99
    trials = read(path).trials
    found = trials[["stem_frame", "arm_frame", "maze_frames"]].to_numpy().tolist()
    assert found == [[1, 2, 4], [0, 2, 4], [0, 0, 0]]


def test_neurons_know_their_place(plain):
    neurons = read(plain).neurons
    assert neurons["plane"].tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    assert neurons["id"].tolist() == [0, 1, 0, 1, 2, 0, 0, 1]
    assert neurons["area"].tolist() == ["V1", "visA", "V1", "visA", "visA", "V1", "V1", "visA"]
    np.testing.assert_allclose(neurons["ap"], -3.0 - neurons["plane"])
    np.testing.assert_allclose(neurons["ml"], -2.0 + 0.1 * neurons["id"])
    np.testing.assert_allclose(neurons["depth"], 0.1 + 0.05 * neurons["plane"])
    assert neurons["mTagBFP2"].tolist() == (neurons["id"] == 0).tolist()
    assert neurons["mScarlet"].tolist() == (neurons["id"] == 1).tolist()
    assert set(neurons["session_area"]) == {"visA"} and set(neurons["layer"]) == {"L23"}
    assert "pixel_mask" not in neurons


@pytest.mark.parametrize(
    ("session_id", "file", "place"),
    [
        ("mouse_4_session_date_2017-06-05_area_RSC_L5_multi_plane_imaging", "a.nwb", ("RSC", "L5")),
        (None, "sub-3_ses-mouse-3-session-date-2017-05-14-area-MM-L5-multi-plane_behavior+ophys.nwb", ("MM", "L5")),
        ("mine", "a.nwb", ("unknown", "unknown")),
    ],
)
def test_area_and_layer_of_a_session_come_from_its_names(tmp_path, session_id, file, place):
    session = read(write_dandi(tmp_path / file, Recording(session_id=session_id)))
    assert session.name == (session_id or Path(file).stem)
    assert (session.neurons["session_area"][0], session.neurons["layer"][0]) == place


def test_a_trial_is_left_out_if_any_plane_has_too_few_or_too_many_frames(plain):
    assert read(plain, min_frames=6).frames.tolist() == [6, 6]  # the second has five in planes 2 and 3
    assert read(plain, max_frames=6).trials["trial_number"].tolist() == [1]  # the others have seven in plane 2
    assert read(plain, max_frames=7).frames.tolist() == [6, 5, 6]
    refused(plain, "between 7 and 9", "`min_frames`", min_frames=7, max_frames=9)
    refused(plain, "between 60 and 200", min_frames=60, max_frames=200)


# --- Defects of real files


def test_numbers_that_skip(tmp_path):
    session = read(written(tmp_path, numbers=(0, 2, 5)))
    trials = session.trials
    assert trials["trial_number"].tolist() == [0, 2, 5]
    assert trials["is_choL"].tolist() == [True, False, False] and trials["is_switch"].tolist() == [False, True, False]
    assert trials["is_ruleA"].tolist() == [True, False, False]
    np.testing.assert_allclose(trials["start_time"], [time(7), time(40), time(67)])
    assert trials["maze_frames"].tolist() == [4, 4, 4]
    np.testing.assert_array_equal(session.traces[2][0], ROWS[2][0])


def test_a_trial_without_a_row(tmp_path):
    refused(written(tmp_path, rows=2), "trial 2", "ends at 1", "a.nwb")


@pytest.mark.parametrize("shift", [-1.2, 1.2])  # a trial takes about a second
def test_rows_about_another_time(tmp_path, shift):
    refused(written(tmp_path, shift=shift), "row 0", "conditions of others")


def test_numbers_that_go_backwards(tmp_path):
    refused(written(tmp_path, numbers=(1, 0, 2)), "go backwards")


@pytest.mark.parametrize("tail", [0, 2, 3])
def test_a_recording_that_ends_within_a_volume(tmp_path, tail):
    session = read(written(tmp_path, tail=tail))
    np.testing.assert_array_equal(session.traces[2][0], ROWS[2][0])
    np.testing.assert_array_equal(session.behaviour[2][:, 0], np.mean(FRAMES[2], axis=0))


def test_a_plane_that_lacks_its_last_row(plain, tmp_path):
    session = read(written(tmp_path, lost=(0, 1, 0, 0)))  # row 19 of plane 1, frame 96
    assert session.frames.tolist() == [6, 5, 5]
    np.testing.assert_array_equal(session.traces[2][:, 0], read(plain).traces[2][:, 0])
    refused(written(tmp_path, lost=(0, 2, 0, 0)), "df_over_f_plane_1/dF_over_F_plane_1", "18 rows", "20 images")


def test_frames_without_velocity(tmp_path):
    behaviour = read(written(tmp_path, silent=(10, 12, 15, 16, 17, 13))).behaviour
    np.testing.assert_allclose(behaviour[0][0, 0], np.mean([11, 7, 8]), rtol=1e-6)
    assert np.isnan(behaviour[0][1]).all()  # none of its four frames has one
    assert np.isfinite(behaviour[0][2:]).all() and np.isfinite(behaviour[1]).all()


def test_frames_without_a_number_within_a_trial(tmp_path):
    session = read(written(tmp_path, nameless=(20, 21, 22, 23)))
    np.testing.assert_array_equal(session.traces[0][0], [2, 3, 5, 6, 7])  # plane 0 without row 4


def test_a_session_without_labels(tmp_path):
    neurons = read(written(tmp_path, labels=False)).neurons
    assert "mScarlet" not in neurons and "mTagBFP2" not in neurons and len(neurons) == sum(ROIS)


def test_a_single_plane_session(tmp_path):
    refused(written(tmp_path, single=True), "single-plane", "plane_idx_for_imaging_frames", "2000 Hz", "leave it out")


def test_an_extension_that_nobody_has(tmp_path):
    path = written(tmp_path, extension=True)
    with pytest.warns(UserWarning, match="left out .*harvey_lab_swac_metadata_session"):
        assert len(read(path).traces) == 3


def test_a_truncated_download(plain, tmp_path):
    whole = plain.read_bytes()
    (tmp_path / "b.nwb").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "b.nwb", "truncated", "download it again")


def test_a_file_of_another_layout(tmp_path):
    path = written(tmp_path)
    with h5py.File(path, "a") as file:
        del file["processing/ophys/df_over_f_plane_3"]
    refused(path, "df_over_f_plane_3/dF_over_F_plane_3", "it has")
    with h5py.File(path, "a") as file:
        del file["processing/behavior/frame_aligned_trial_number"]
    refused(path, "frame_aligned_trial_number", "it has")


# --- Memory


def peak(path: Path, **wanted) -> tuple[int, int]:
    """Bytes that reading takes at most, and bytes of the traces that it gives."""
    tracemalloc.start()
    try:
        session = read(path, **wanted)
        return tracemalloc.get_traced_memory()[1], sum(trace.nbytes for trace in session.traces)
    finally:
        tracemalloc.stop()


def test_reading_holds_little_more_than_what_it_gives(tmp_path):
    path = written(tmp_path, lengths=(500,) * 20 + (200,) * 60, rois=(150, 250, 200, 200))  # 32 MB of dF/F on disk
    read(path)  # what is only loaded once does not count
    most, kept = peak(path)
    assert kept > 14e6 and most < 2.3 * kept  # all trials behind each other, and each by itself
    most, kept = peak(path, min_frames=60)  # the first twenty trials only
    assert kept < 7e6 and most < 2 * kept + 4e6


# --- As a dataset


def test_a_description_of_this_layout(plain, tmp_path):
    sessions = load_sessions({"files": str(plain), "layout": "dandi_000579"})
    assert sessions[0].behaviour_names == ("pitch", "roll", "yaw")
    (session,) = load_sessions({"files": str(plain), "layout": "dandi_000579", "behaviour": (), "conditions": "is_vis"})
    assert session.behaviour_names == () and "is_vis" in session.trials
    (session,) = load_sessions({"files": str(plain), "layout": "dandi_000579", "max_frames": 6})
    assert session.trials["trial_number"].tolist() == [1]
    with pytest.raises(CalmError, match=r"`traces` has no meaning with `layout` dandi_000579"):
        load_sessions({"files": "*.nwb", "layout": "dandi_000579", "traces": "plane_0"})
    (tmp_path / "mine.yaml").write_text("{files: '*.nwb', layout: dandi}")
    with pytest.raises(CalmError, match=r"`layout` is 'dandi'.*'nwb', 'dandi_000579', "):
        load_dataset(tmp_path / "mine.yaml")


def test_some_neurons_are_kept(plain):
    whole = read(plain)
    (session,) = load_sessions({"files": str(plain), "layout": "dandi_000579", "keep": {"plane": [0, 2], "id": "< 1"}})
    assert session.neurons[["plane", "id"]].to_numpy().tolist() == [[0, 0], [2, 0]]
    for some, all_of_them in zip(session.traces, whole.traces, strict=True):
        np.testing.assert_array_equal(some, all_of_them[[0, 5]])
    with pytest.raises(CalmError, match=r"`dff` has no meaning with `layout` dandi_000579"):
        load_sessions({"files": str(plain), "layout": "dandi_000579", "dff": True})


def test_another_frame_rate(plain):
    wanted = {"files": str(plain), "layout": "dandi_000579", "resample": 11.3}
    (session,) = load_sessions(wanted)
    assert session.rate == 11.3 and session.frames.tolist() == [10, 7, 10]  # between the first and last frames in file
    starts = session.trials["first_frame_time"]
    for start, values, traces in zip(starts, session.behaviour, session.traces, strict=True):
        clock = start + np.arange(len(values)) / 11.3
        np.testing.assert_allclose(values, velocity((clock - time(0)) * 30), rtol=1e-4)
        np.testing.assert_allclose(np.diff(traces), 6 / 11.3, atol=5e-3)  # rows of the file follow each other at 6 Hz
    # Frames of the first trial lie at 9, 11.7, 14.3, ... on the mean; it is in the arm from 18 to 26.
    assert session.trials.loc[0, ["stem_frame", "arm_frame", "maze_frames"]].tolist() == [0, 4, 7]
    (session,) = load_sessions(wanted | {"min_frames": 10, "max_frames": 10})
    assert session.trials["trial_number"].tolist() == [0, 2]
    with pytest.raises(CalmError, match=r"at 0.1 frames per second, trials have no frame: choose a higher `resample`"):
        load_sessions(wanted | {"resample": 0.1})


@pytest.mark.parametrize("value", [np.nan, 0.25])
def test_bad_neurons(tmp_path, value):
    write_dandi(tmp_path / "a.nwb", Recording(bad={(1, 2): value, (3, 0): value}))
    with pytest.raises(CalmError, match=r"2 neurons \(4, 6\).*bad_neurons: drop"):
        load_sessions({"files": str(tmp_path / "a.nwb"), "layout": "dandi_000579"})
    with pytest.warns(UserWarning, match=r"left out 2 neurons \(4, 6\)"):
        (session,) = load_sessions({"files": str(tmp_path / "a.nwb"), "layout": "dandi_000579", "bad_neurons": "drop"})
    assert session.neurons["plane"].tolist() == [0, 0, 1, 1, 2, 3]
    np.testing.assert_array_equal(session.traces[0][-1], trace(3, np.array(ROWS[0][3]), 2)[:, 1])


def test_the_description_of_the_recordings(tmp_path, monkeypatch):
    monkeypatch.setenv("CALM_RECORDINGS", str(tmp_path))
    for mouse in ("3", "6", "10"):
        name = f"mouse_{mouse}_session_date_2017-05-04_area_RSC_L23_multi_plane_imaging"
        recording = Recording(lengths=(310,) * 9 + (250,), session_id=name, subject=mouse, silent=(8,))
        write_dandi(tmp_path / f"000579/sub-{mouse}/sub-{mouse}_ses-{name.replace('_', '-')}_behavior.nwb", recording)
    (tmp_path / "000579/sub-3/sub-3_ses-of-a-single-plane-imaging.nwb").touch()
    dataset = load_dataset(ROOT / "data" / "dandi_000579.yaml")
    sessions = read_all(dataset)
    assert (dataset.held_out, dataset.context, dataset.smoothing) == (("6", "10"), 40, 0.15)
    assert [session.subject for session in sessions] == ["10", "3", "6"]
    assert all(set(session.frames) == {62} and len(session.frames) == 9 for session in sessions)
    prepared = prepare(sessions[0], seed=0, smoothing=dataset.smoothing, min_frames=44)
    assert all(np.isfinite(values).all() for values in (*prepared.traces, *prepared.behaviour))
