"""The commands: what they write is what the library makes of the same recording, and a mistake is one sentence."""

import dataclasses
import importlib
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nwb_files import RATE, add_traces, add_trials, new_file, plain_file, random_traces, save
from pynwb import NWBHDF5IO

import calm
from calm.cli.__main__ import main
from calm.cli.tables import frame_table, write_table
from calm.profile import load_profile

SMALL = ["--context", "4", "--profile", "smoke single_share=0.5"]
SHORT = load_profile("smoke forecast.context=4 forecast.horizon=6")
PROFILE = SHORT.shortened(0.5).changed(finetune_fit=SHORT.finetune_fit)  # what commands make of it for ten frames
NEURONS = ["neuron 100", "neuron 101", "neuron 102"]  # their ids in the file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording of ten trials of ten frames; what is trained is kept beside it."""
    folder = tmp_path_factory.mktemp("recording")
    plain_file(folder / "a.nwb")
    return folder


@pytest.fixture
def calm_command(folder, monkeypatch):
    """Run a command in the folder of the recording."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("calm.cli.__main__.RUNS", folder / "runs")
    return lambda *words: main([*words])


@pytest.fixture
def session(calm_command):
    """What the commands prepare."""
    return calm.prepare(calm.load_sessions("a.nwb")[0], seed=0)


def test_forecasts_are_those_of_the_library_whatever_they_are_written_as(calm_command, session, folder):
    for out in ("f.csv", "f.npz", "f.nwb"):
        calm_command("forecast", "a.nwb", "--out", out, *SMALL)
    before = set((folder / "runs").iterdir())
    model = calm.load_pretrained("small").adapt([session], PROFILE, runs=folder / "runs")
    model = model.finetune([session], runs=folder / "runs")
    assert set((folder / "runs").iterdir()) == before  # the very training of the command
    trials = session.trials_of("test")
    expected = np.concatenate(model.forecast(session, trials, unit="original"), axis=1).T
    table = pd.read_csv("f.csv")
    np.testing.assert_allclose(table[NEURONS], expected, rtol=1e-5)
    np.testing.assert_array_equal(table["trial"], np.repeat(trials, 6))
    first = session.trials["first_frame_time"].to_numpy()[table["trial"]]
    np.testing.assert_allclose(table["time"] - first, np.tile(np.arange(4, 10) / RATE, len(trials)))
    with np.load("f.npz") as arrays:
        assert list(arrays) == ["trial", "time", *NEURONS]
        np.testing.assert_array_equal(arrays["neuron 101"], expected[:, 1])
    with NWBHDF5IO("f.nwb", "r") as io:
        series = io.read().processing["calm"]["forecast"]
        np.testing.assert_array_equal(series.data[:], expected)
        np.testing.assert_allclose(series.timestamps[:], table["time"])


def test_beyond_the_recording_is_after_its_last_trial(calm_command, session, folder):
    for out in ("beyond.csv", "beyond.nwb"):
        calm_command("forecast", "a.nwb", "--out", out, "--beyond", "7", *SMALL)
    model = calm.load_pretrained("small").adapt([session], PROFILE, runs=folder / "runs")
    model = model.finetune([session], runs=folder / "runs")
    (expected,) = model.forecast_beyond(session, np.array([9]), horizon=7, unit="original")
    table = pd.read_csv("beyond.csv")
    np.testing.assert_allclose(table[NEURONS], expected.T, rtol=1e-5)
    end = session.trials["first_frame_time"].max() + 10 / RATE
    np.testing.assert_allclose(table["time"], end + np.arange(7) / RATE)
    assert set(table["trial"]) == {9}
    with NWBHDF5IO("beyond.nwb", "r") as io:
        series = io.read().processing["calm"].data_interfaces
        np.testing.assert_allclose(series["forecast_beyond"].timestamps[:], table["time"])
        assert set(series) == {"neurons", "forecast_beyond"}


def test_neurons_of_planes_that_number_them_alike_are_told_apart(session, tmp_path):
    planes = dataclasses.replace(session, neurons=session.neurons.assign(id=[0, 1, 0]))
    assert session.neuron_names == NEURONS and planes.neuron_names == ["neuron 0", "neuron 1", "neuron 2"]
    write_table(tmp_path / "t.npz", frame_table(planes, np.array([0]), [planes.traces[0]]))
    with np.load(tmp_path / "t.npz") as arrays:
        np.testing.assert_allclose([arrays[name] for name in planes.neuron_names], planes.traces[0])


def test_tokens_need_no_training_and_no_context(calm_command, session, folder):
    before = set((folder / "runs").glob("transformer*"))
    calm_command("tokenize", "a.nwb", "--out", "t.csv")
    table, tokens = pd.read_csv("t.csv"), calm.load_pretrained("small").tokenize(session)
    np.testing.assert_array_equal(table[NEURONS], np.concatenate(tokens, axis=1).T)
    assert table["trial"].tolist() == [trial for trial in range(10) for _ in range(2)]
    np.testing.assert_allclose(np.diff(table["time"])[::2], 4 / RATE)
    assert set((folder / "runs").glob("transformer*")) == before


def test_behaviour_is_decoded_beside_what_was_recorded(calm_command, session, capsys):
    calm_command("decode", "a.nwb", "--out", "d.csv", "--behaviour", "lick", *SMALL)
    table = pd.read_csv("d.csv")
    frames = 10 * table["trial"] + np.tile(np.arange(10), len(session.trials_of("test")))
    np.testing.assert_allclose(table["lick"], frames, atol=1e-4)  # the series of the file counts its frames
    correlation = np.corrcoef(table["lick"], table["lick decoded"])[0, 1]
    assert f"test trials: lick {correlation:.3f}." in capsys.readouterr().out


def test_a_continuous_recording_is_cut_into_windows(calm_command, tmp_path):
    np.savetxt(tmp_path / "b.csv", np.random.default_rng(0).normal(size=(2, 800)), delimiter=",")
    calm_command("tokenize", str(tmp_path / "b.csv"), "--rate", "5", "--out", str(tmp_path / "t.csv"))
    table = pd.read_csv(tmp_path / "t.csv")
    assert set(table.groupby("trial").size()) == {80 / 4} and table["time"].max() == pytest.approx((800 - 4) / 5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_a_recording_that_says_little_what_can_be_used_is_used_and_told(calm_command, tmp_path, capsys):
    nwb, data = new_file(), random_traces(1000)
    data[500:505, 1] = np.nan  # too long to be mended over
    data[600:604, 2] = np.nan
    add_traces(nwb, data, name="raw", container="Fluorescence")
    add_traces(nwb, data, name="neuropil", container="Fluorescence")
    add_trials(nwb, [(8.0 * trial, 8.0 * trial + (0.5 if trial == 3 else 5)) for trial in range(12)])
    path = str(save(nwb, tmp_path / "b.nwb"))
    for out, words, used in (
        ("t.csv", [], "2 neurons, 11 trials of 50 to 50 frames"),
        ("f.csv", ["--context", "48"], "2 neurons, 8 trials of 80 to 80 frames"),
    ):
        command = "forecast" if words else "tokenize"
        calm_command(command, path, "--out", str(tmp_path / out), *words, *(SMALL[2:] if words else []))
        shown = capsys.readouterr().out
        assert "{traces: ophys/Fluorescence/raw" in shown and ("windows: {length: 80}" in shown) == bool(words)
        assert used in shown


def test_info_tells_of_weights_and_of_recordings(calm_command, capsys):
    calm_command("info", "small")
    scores = calm.load_pretrained("small").scores
    assert f"raw {scores['raw']:.3f}, smoothed {scores['smoothed']:.3f}" in capsys.readouterr().out
    calm_command("info", "a.nwb")
    assert "3 neurons, 10 trials of 10 to 10 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["forecast", "a.nwb", "--out", "a.nwb"], "a.nwb exists: choose another name"),
        (["forecast", "a.nwb", "--out", "f.mat"], "f.mat has none of the endings .nwb, .csv, .npz"),
        (["forecast", "a.nwb", "--out", "g.csv"], "1 trials are too few"),
        (["forecast", "b.nwb", "--out", "g.csv"], "There is nothing at b.nwb"),
        (["tokenize", "c.csv", "--out", "g.csv"], "`rate`"),
        (["tokenize", "a.nwb", "--out", "g.csv", "--rate", "5"], "`rate` has no meaning with `layout` nwb"),
        (["forecast", "a.nwb", "--out", "g.csv", "--beyond", "0"], "`beyond`"),
        (["decode", "a.nwb", "--out", "g.csv", "--behaviour", "paw"], "'paw'"),
        (["tokenize", "two.yaml", "--out", "g.csv"], "two.yaml has 2 sessions: name one file"),
        (["info", "large"], "There are no weights 'large'"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(calm_command, folder, words, sentence):
    (folder / "c.csv").write_text("\n".join("1,2,3,4" for _ in range(2)))
    plain_file(folder / "other.nwb", session_id="other")
    (folder / "two.yaml").write_text("files: [a.nwb, other.nwb]")
    with pytest.raises(SystemExit, match="calm: ") as ended:
        calm_command(*words)
    assert sentence in str(ended.value) and not Path("g.csv").exists()


def test_the_command_is_installed_under_its_name():
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["calm"].partition(":")
    assert getattr(importlib.import_module(module), function) is main
