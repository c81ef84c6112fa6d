"""Dataset descriptions: what they say is what is read, and every mistake in one gets one clear sentence."""

import os
from pathlib import Path

import numpy as np
import pytest
from nwb_files import add_behaviour, add_traces, add_trials, new_file, plain_file, random_traces, read_all, save

from calm.data.descriptions import KEYS, load_dataset
from calm.data.dff import Baseline, delta_f_over_f
from calm.data.reading import load_sessions
from calm.data.recording import make_recording
from calm.errors import CalmError

ROOT = Path(__file__).parents[2]
recordings = pytest.mark.skipif("CALM_RECORDINGS" not in os.environ, reason="CALM_RECORDINGS is not set")


def describe(folder: Path, text: str) -> Path:
    """Write a description."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def refused(action, *words: str) -> None:
    """Check that the action fails with one sentence that holds the words."""
    with pytest.raises(CalmError) as error:
        action()
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    assert all(word in text for word in words), text


# --- The description


def test_defaults(tmp_path):
    dataset = load_dataset(describe(tmp_path, "files: '*.nwb'"))
    assert (dataset.name, dataset.files, dataset.traces) == ("mine", ("*.nwb",), None)
    assert (dataset.context, dataset.horizon) == (None, None)  # the profile's
    assert (dataset.smoothing, dataset.bad_neurons) == (1.0, "refuse")
    assert str(tmp_path) not in dataset.model_dump_json()  # the same wherever it lies


def test_one_name_or_several(tmp_path):
    dataset = load_dataset(describe(tmp_path, "{files: a, traces: dF, behaviour: [x, y], held_out: '6'}"))
    assert (dataset.traces, list(dataset.behaviour), dataset.held_out) == (("dF",), ["x", "y"], ("6",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("files: [", ("not valid YAML", "line")),
        ("\x00", ("not valid YAML",)),
        ("", ("no `key: value` lines",)),
        ("- a", ("no `key: value` lines",)),
        ("name: a", ("`files`", "missing")),
        ("{files: a, contxt: 3}", ("`contxt`", *KEYS)),
        ("{files: a, folder: b}", ("`folder`",)),
        ("{files: []}", ("`files`",)),
        ("{files: a, context: many}", ("`context`", "'many'", "integer")),
        ("{files: a, context: 0}", ("`context`",)),
        ("{files: a, smoothing: 0}", ("`smoothing`", "greater than 0")),
        ("{files: a, smoothing: 1.5}", ("`smoothing`",)),
        ("{files: a, bad_neurons: keep}", ("`bad_neurons`", "'refuse' or 'drop'")),
        ("{files: a, held_out: [0301]}", ("`held_out.0`", "quotes")),
        ("{files: a, min_frames: 9, max_frames: 8}", ("`min_frames` 9", "`max_frames` 8")),
    ],
)
def test_bad_descriptions(tmp_path, text, words):
    refused(lambda: load_dataset(describe(tmp_path, text)), "mine.yaml", *words)


def test_no_description(tmp_path):
    refused(lambda: load_dataset(tmp_path / "none.yaml"), "none.yaml")


# --- The files


def test_paths_are_relative_to_the_description(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.nwb", "a.nwb", "deep/c.nwb"):
        (tmp_path / name).touch()
    dataset = load_dataset(describe(tmp_path, "files: ['*.nwb', '**/*.nwb']"))
    assert dataset.paths() == [tmp_path / "a.nwb", tmp_path / "b.nwb", tmp_path / "deep/c.nwb"]


def test_a_description_is_looked_for_in_the_project_too(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "mine.yaml").write_text("files: '*.nwb'")
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr("calm.data.descriptions.ROOT", tmp_path)
    assert load_dataset("mine.yaml").folder == tmp_path
    (tmp_path / "notebooks" / "mine.yaml").write_text("{name: nearer, files: '*.nwb'}")
    assert load_dataset("mine.yaml").name == "nearer"


@pytest.mark.parametrize(
    ("text", "decoded"), [("", False), (", behaviour: lick", True), (", layout: dandi_000579", True)]
)
def test_whether_there_is_anything_to_decode(tmp_path, text, decoded):
    (tmp_path / "mine.yaml").write_text(f"{{files: '*.nwb'{text}}}")
    assert load_dataset(tmp_path / "mine.yaml").has_behaviour == decoded


def test_environment_variables(tmp_path, monkeypatch):
    (tmp_path / "a.nwb").touch()
    dataset = load_dataset(describe(tmp_path, "files: $HERE/*.nwb"))
    monkeypatch.setenv("HERE", str(tmp_path))
    assert dataset.paths() == [tmp_path / "a.nwb"]
    monkeypatch.delenv("HERE")
    refused(dataset.paths, "HERE", "export")
    refused(load_dataset(describe(tmp_path, "files: a$")).paths, "lone `$`")


def test_a_pattern_without_files(tmp_path):
    plain_file(tmp_path / "a.nwb")
    refused(load_dataset(describe(tmp_path, "files: ['*.nwb', '*.h5']")).paths, "*.h5", "`files`")


# --- The sessions


def test_read_sessions(tmp_path):
    for name in ("b", "a"):
        plain_file(tmp_path / f"{name}.nwb", session_id=name, subject=name.upper())
    text = "{files: '*.nwb', context: 6, behaviour: lick, conditions: go, held_out: B}"
    sessions = read_all(load_dataset(describe(tmp_path, text)))
    assert [session.name for session in sessions] == ["a", "b"]
    assert sessions[0].behaviour_names == ("lick",) and "go" in sessions[0].trials


def test_duplicate_sessions(tmp_path):
    for name in ("a", "b"):
        plain_file(tmp_path / f"{name}.nwb")
    refused(lambda: load_sessions(str(tmp_path / "*.nwb")), "a.nwb", "b.nwb", "'session'")


def test_unknown_subject(tmp_path):
    plain_file(tmp_path / "a.nwb")
    dataset = load_dataset(describe(tmp_path, "{files: '*.nwb', context: 6, held_out: rat}"))
    refused(lambda: read_all(dataset), "'rat'", "mouse")


def test_trials_too_short_for_the_context(tmp_path):
    plain_file(tmp_path / "a.nwb")
    dataset = load_dataset(describe(tmp_path, "{files: '*.nwb', context: 6}"))
    assert len(read_all(dataset, window=4)) == 1
    refused(lambda: read_all(dataset, window=5), "10 frames", "need 11")


def test_trials_of_other_lengths_are_left_out(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    add_trials(nwb, [*[(float(second), second + 1.0) for second in range(9)], (9.0, 9.5)])
    path = save(nwb, tmp_path / "a.nwb")
    (session,) = load_sessions(str(path))
    assert session.frames.tolist() == [10] * 9 + [5]
    (long,), (short,) = (
        load_sessions({"files": str(path), "min_frames": 6}),
        load_sessions({"files": str(path), "max_frames": 9}),
    )
    assert (long.frames.tolist(), short.frames.tolist()) == ([10] * 9, [5])
    assert len(long.trials) == len(long.behaviour) == 9 and short.trials["start_time"].tolist() == [9.0]
    refused(lambda: load_sessions({"files": str(path), "min_frames": 11}), "5 to 10 frames", "`min_frames`")


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_bad_neurons(tmp_path, value):
    data = random_traces(neurons=4)
    data[:, 2] = value
    path = plain_file(tmp_path / "a.nwb", data=data)
    refused(lambda: load_sessions(str(path)), "1 neuron (2)", "bad_neurons: drop")
    with pytest.warns(UserWarning, match=r"left out 1 neuron \(2\): (NaN|no change)"):
        (session,) = load_sessions({"files": str(path), "bad_neurons": "drop"})
    assert session.neurons["id"].tolist() == [100, 101, 103]
    np.testing.assert_array_equal(np.concatenate(session.traces, axis=1).T, data[:, [0, 1, 3]])


def test_where_all_neurons_are_bad_it_is_said_what_is_wrong_and_short_gaps_are_filled(tmp_path):
    data = random_traces(neurons=4)
    broken = data.copy()
    for neuron in range(4):
        broken[20 + 7 * neuron, neuron] = np.nan
    keys = {"files": str(plain_file(tmp_path / "a.nwb", data=broken)), "bad_neurons": "drop"}
    refused(lambda: load_sessions(keys), "no neuron to keep: NaN or infinite values in 4 neurons", "`fill_gaps`")
    with pytest.warns(UserWarning, match="4 values"):
        (session,) = load_sessions({**keys, "fill_gaps": 1})
    together = np.concatenate(session.traces, axis=1).T
    kept = ~np.isnan(broken[: len(together)])
    np.testing.assert_array_equal(together[kept], data[: len(together)][kept])
    np.testing.assert_allclose(together[20, 0], (data[19, 0] + data[21, 0]) / 2, rtol=1e-5)


def test_neurons_of_nwb_are_kept_by_any_column_as_dff_at_another_rate(tmp_path):
    raw = random_traces(400, 3) + 100
    nwb = new_file()
    add_traces(nwb, raw, container="Fluorescence")
    add_behaviour(nwb, "licks", np.ones(50), timestamps=np.linspace(1, 39, 50))
    add_trials(nwb, [(4.0 * trial, 4.0 * trial + 4) for trial in range(10)])
    keys = {"keep": {"depth": "> 0.05", "area": "V1"}, "dff": {"percentile": 50, "window": 10}, "resample": 5.0}
    (session,) = load_sessions({"files": str(save(nwb, tmp_path / "a.nwb")), "behaviour": {"licks": "events"}, **keys})
    assert session.neurons["id"].tolist() == [101, 102] and session.rate == 5 and set(session.frames) == {20}
    assert session.unit == "dF/F" and np.concatenate(session.behaviour).sum() == 50
    both = make_recording(raw[:, 1:].T, name="a", rate=10.0)
    expected = delta_f_over_f(both, Baseline(percentile=50, window=10)).traces
    frames = np.concatenate(session.traces, axis=1)
    inner = slice(2, -2)  # frames of 0.2 s have half of the frame before, the frame, and half of the one after
    averaged = (expected[:, 1:-2:2] / 2 + expected[:, 2:-1:2] + expected[:, 3::2] / 2) / 2
    np.testing.assert_allclose(frames[:, 1 : 1 + averaged.shape[1]][:, inner], averaged[:, inner], atol=1e-5)
    refused(
        lambda: load_sessions({"files": str(tmp_path / "a.nwb"), "keep": {"layer": 2}}), "'layer'", "id, depth, area"
    )


def test_a_plain_recording_is_resampled_with_its_behaviour(tmp_path):
    time = np.arange(400) / 20
    np.savez(tmp_path / "a.npz", traces=np.stack([np.sin(time), np.cos(time)]), time=time, speed=3 * time)
    options = {"layout": "npz", "behaviour": "speed", "windows": {"length": 10, "split": "random"}, "resample": 5.0}
    (session,) = load_sessions({"files": str(tmp_path / "a.npz"), **options})
    at = np.arange(0, 19.95, 0.2)[: 10 * len(session.traces)]
    assert session.rate == 5
    np.testing.assert_allclose(
        np.concatenate(session.traces, axis=1)[:, 1:], [np.sin(at[1:]), np.cos(at[1:])], atol=2e-3
    )
    np.testing.assert_allclose(np.concatenate(session.behaviour)[1:, 0], 3 * at[1:], rtol=1e-4)


def test_a_rate_that_contradicts_the_clock_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", traces=random_traces(100).T, time=np.arange(100) / 20)
    options = {"layout": "npz", "windows": {"length": 10}}
    refused(
        lambda: load_sessions({"files": str(tmp_path / "a.npz"), "rate": 30.0, **options}),
        "`rate` of 30",
        "20 frames per second",
    )
    (session,) = load_sessions({"files": str(tmp_path / "a.npz"), "rate": 20.0, **options})
    assert session.rate == 20


def test_sessions_are_loaded_by_pattern_paths_keys_or_description(tmp_path):
    path = plain_file(tmp_path / "a.nwb")
    described = describe(tmp_path, "files: a.nwb\nconditions: go\n")
    for recordings in (str(path), path, [path], {"files": str(path)}):
        (session,) = load_sessions(recordings)
        assert session.name == "session" and "go" not in session.trials
    for recordings in (described, str(described), {"files": str(path), "conditions": "go"}):
        assert "go" in load_sessions(recordings)[0].trials
    refused(lambda: load_sessions({"files": str(path), "condition": "go"}), "no key `condition`", "conditions")


def test_load_sessions_without_files(tmp_path):
    refused(lambda: load_sessions(str(tmp_path / "*.nwb")), "No file matches")
    refused(lambda: load_sessions([]), "`files`")


# --- What comes with calm


@recordings
def test_the_real_description():
    dataset = load_dataset(ROOT / "data" / "s1_gonogo.yaml")
    sessions = read_all(dataset)
    assert len(sessions) == 19
    held_out = [session for session in sessions if session.subject in dataset.held_out]
    assert len(held_out) == 4
    outcomes = {outcome for session in sessions for outcome in session.trials["outcome"]}
    assert outcomes == {"hit", "miss", "FA", "CR"}


def test_every_key_is_explained():
    text = (ROOT / "data" / "README.md").read_text()
    assert all(f"`{key}`" in text for key in KEYS)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Files of three sessions, of which `c` has another frame rate."""
    folder = tmp_path_factory.mktemp("three")
    for name, rate in (("a", 10.0), ("b", 10.0), ("c", 8.0)):
        nwb = new_file(session_id=name)
        add_traces(nwb, random_traces(), rate=rate)
        add_trials(nwb, [(float(second), second + 1.0) for second in range(10)])
        save(nwb, folder / f"{name}.nwb")
    return folder


def test_a_session_of_another_rate_is_told_by_name_and_can_be_left_out_or_resampled(three):
    files = str(three / "*.nwb")
    with pytest.warns(UserWarning, match=r"most sessions have 10 frames per second, but not c \(8\).*`exclude`"):
        assert len(load_sessions(files)) == 3
    for excluded in ("c", "c.nwb"):
        assert [session.name for session in load_sessions({"files": files, "exclude": excluded})] == ["a", "b"]
    assert {session.rate for session in load_sessions({"files": files, "resample": 5.0})} == {5}
    refused(lambda: load_sessions({"files": files, "exclude": "d"}), "'d'", "`exclude`", "a, b, c")
    refused(lambda: load_sessions({"files": files, "exclude": ["a", "b", "c"]}), "every session is excluded")


def test_windows_and_trials_are_keys(three):
    (session,) = load_sessions({"files": str(three / "a.nwb"), "windows": {"length": 8}})
    assert set(session.frames) == {8} and len(session.traces) > 7
    (session,) = load_sessions({"files": str(three / "a.nwb"), "trials": "trials"})
    assert set(session.frames) == {10}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{files: a, trials: odd, windows: {length: 80}}", ("`trials`", "`windows`", "not into both")),
        ("{files: a, windows: {length: 80, stride: 40, split: random}}", ("`stride` 40", "overlap")),
        ("{files: a, trials: {tables: odd, events: lick}}", ("table", "`events`", "not from both")),
        ("{files: a, behaviour: {lick: event}}", ("`behaviour.lick`", "'event'", "'events', 'steps' or 'samples'")),
        ("{files: a, layout: dandi_000579, behaviour: {pitch: steps}}", ("kinds of `behaviour`", "dandi_000579")),
    ],
)
def test_choices_that_exclude_each_other(tmp_path, text, words):
    refused(lambda: load_dataset(describe(tmp_path, text)), *words)
