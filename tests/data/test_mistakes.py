"""Settings that would be believed: each is one sentence that says what to do, before anything is trained."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from nwb_files import add_traces, add_trials, new_file, random_traces, save

from calm.data.descriptions import load_dataset
from calm.data.intervals import cut_into_trials
from calm.data.preparation import prepare
from calm.data.reading import load_sessions
from calm.data.recording import make_recording
from calm.errors import CalmError
from calm.model import CalM
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.training.checks import check_prepared
from calm.training.stages import Trained


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("files: a.nwb\ncontext: 10\ncontext: 20\n")
    with pytest.raises(CalmError, match=r"mine.yaml is not valid YAML, line 3 \(it has the key `context` twice\)"):
        load_dataset(tmp_path / "mine.yaml")


@pytest.mark.parametrize(("name", "value"), [("rate", ".inf"), ("context", "1" * 400), ("smoothing", ".nan")])
def test_numbers_that_nothing_can_be_are_refused(tmp_path, name, value):
    (tmp_path / "mine.yaml").write_text(f"{{files: a.npz, layout: npz, windows: {{length: 9}}, {name}: {value}}}")
    with pytest.raises(CalmError, match=r"^mine\.yaml|/mine\.yaml") as error:
        load_dataset(tmp_path / "mine.yaml")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("names", [["plane_0", "plane_0"], ["plane_0", "DfOverF/plane_0"]])
def test_the_same_series_twice_is_refused(tmp_path, names):
    nwb = new_file()
    add_traces(nwb, random_traces(), name="plane_0")
    add_trials(nwb, [(float(second), second + 1.0) for second in range(10)])
    path = save(nwb, tmp_path / "a.nwb")
    with pytest.raises(CalmError, match=rf"a.nwb: `traces` name '{names[1]}' twice"):
        load_sessions({"files": str(path), "traces": names})


@pytest.mark.parametrize("key", ["traces", "trials"])
def test_no_series_or_table_at_all_is_refused(key):
    with pytest.raises(CalmError, match=rf"load_sessions: `{key}.*` is \[\]: value should have at least 1 item"):
        load_sessions({"files": "a.nwb", key: []})


def test_reversed_trials_are_left_out_by_that_name():
    recording = make_recording(random_traces(200).T, name="a", rate=10.0)
    times = [(float(second), second + 1.0) for second in range(10)] + [(12.0, 11.0)]
    trials = pd.DataFrame(times, columns=["start_time", "stop_time"])
    with pytest.warns(UserWarning, match="1 of 11 trials are left out: 1 that stop before they start"):
        assert len(cut_into_trials(recording, trials).traces) == 10
    with pytest.raises(CalmError, match=r"none of 1 trials can be used \(1 that stop before they start\)"):
        cut_into_trials(recording, trials[-1:])


def test_a_horizon_beyond_every_trial_is_refused(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces(400))
    add_trials(nwb, [(2.0 * trial, 2.0 * trial + 2) for trial in range(20)])
    save(nwb, tmp_path / "a.nwb")
    for horizon in (100_000, 13):
        (tmp_path / "mine.yaml").write_text(f"{{files: a.nwb, context: 8, horizon: {horizon}}}")
        with pytest.raises(CalmError, match=rf"mine: a `horizon` of {horizon} frames is more than the 12 after"):
            load_recordings(str(tmp_path / "mine.yaml"), load_profile("smoke"), seed=0, runs=tmp_path / "runs")
    (tmp_path / "mine.yaml").write_text("{files: a.nwb, context: 8, horizon: 12}")
    recordings = load_recordings(str(tmp_path / "mine.yaml"), load_profile("smoke"), seed=0, runs=tmp_path / "runs")
    assert recordings.profile.forecast.horizon == 12


def test_two_sessions_of_one_name_are_refused(make_session):
    profile = load_profile("smoke")
    sessions = [prepare(make_session([80] * 10, seed=seed, name="twin"), seed=0) for seed in (0, 1)]
    with pytest.raises(CalmError, match="two sessions called twin: leave one out, or give it another name"):
        CalM.pretrain(sessions, profile)
    check_prepared([sessions[0], dataclasses.replace(sessions[1], name="other")], profile)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"horizon": -3}, "A `horizon` of -3 is none: take 1 or more"),
        ({"horizon": 0}, "A `horizon` of 0 is none"),
        ({"samples": 0}, "A `samples` of 0 is none"),
        ({"choice": "gready"}, "There is no choice 'gready': take one of"),
        ({"unit": "dff"}, "There is no unit 'dff'"),
    ],
)
def test_forecasts_of_nothing_are_refused(uneven, quantizer, dat, wanted, message):
    profile = load_profile("smoke forecast.context=8")
    stages = [Trained(model, pd.DataFrame(), "key") for model in (quantizer, dat)]
    model = CalM(profile, *stages, {uneven.name: uneven.preparation})
    with pytest.raises(CalmError, match=message):
        model.forecast(uneven, np.array([0]), **wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dat_fit.steps=0", "steps cannot be changed so: .*greater than 0"),
        ("dat_fit.learning_rate=.nan", "learning_rate cannot be changed so: .*finite number"),
        ("*_fit.precision=half", "precision cannot be changed so"),
        ("dat_fit.steps=[", r"The value of 'dat_fit.steps=\[' is not valid YAML"),
        ("dat_fit.steps=" + "9" * 5000, "a number of more than 18 digits"),
    ],
)
def test_settings_that_train_nothing_are_refused(change, message):
    with pytest.raises(CalmError, match=message):
        load_profile(f"smoke {change}")
