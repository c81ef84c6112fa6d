"""The few lines of a user: pretrain, adapt, forecast, save and load."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch
from damage import flip
from linear_systems import noise_free_session
from pynwb import NWBHDF5IO

import calm
from calm.data.preparation import prepare
from calm.errors import CalmError
from calm.metrics import central_band
from calm.model import CalM, verdict
from calm.profile import load_profile
from calm.training.stages import typical
from calm.training.tasks import duration, expected_time


def short(profile):
    """The smoke profile with a context that leaves something of trials of 20 frames."""
    return profile.changed(forecast=profile.forecast.changed(context=8))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def session():
    return noise_free_session(neurons=4, trials=30, frames=20, seed=0)


@pytest.fixture(scope="module")
def model(session, runs):
    return CalM.pretrain([session], short(load_profile("smoke")), runs=runs)


def test_a_saved_model_forecasts_the_same_when_loaded(model, session, tmp_path):
    model.save(tmp_path / "model")
    again, trials = CalM.load(tmp_path / "model"), session.trials_of("test")
    before, after = model.forecast(session, trials), again.forecast(session, trials)
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    assert again.profile == model.profile and again.sessions == {session.name: 4}
    assert again.transformer.score == model.transformer.score
    assert torch.equal(again.transformer.model.codes, model.transformer.model.codes)  # made anew, of the loaded codes


def test_a_damaged_model_is_refused(model, tmp_path):
    model.save(tmp_path / "model")
    flip(tmp_path / "model" / "weights.safetensors", -1)
    with pytest.raises(CalmError, match="damaged"):
        CalM.load(tmp_path / "model")


def test_a_model_of_another_version_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr("calm.training.saved.FORMAT", 0)
    model.save(tmp_path / "model")
    monkeypatch.undo()
    with pytest.raises(CalmError, match=r"no model that this version of calm can read: train it again\.$"):
        CalM.load(tmp_path / "model")


def test_a_loaded_model_adapts_to_a_session_of_another_size(model, tmp_path):
    model.save(tmp_path / "model")
    new = dataclasses.replace(noise_free_session(neurons=6, trials=30, frames=20, seed=1), name="new")
    adapted = CalM.load(tmp_path / "model").adapt([new], runs=tmp_path / "runs")
    assert adapted.sessions == {"new": 6, **model.sessions}
    assert adapted.embeddings(new).shape == (6, model.profile.dat.width)
    before, after = (each.transformer.model.state_dict() for each in (model, adapted))
    of_sessions = adapted.transformer.model.session_parameters
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith(of_sessions))
    forecasts = adapted.forecast(new, new.trials_of("test"), horizon=5, choice="sample", samples=2)
    assert {forecast.shape for forecast in forecasts} == {(6, 5)}


def test_a_model_that_adapted_knows_the_old_sessions_as_before(model, session, runs, tmp_path):
    new = dataclasses.replace(noise_free_session(neurons=6, trials=30, frames=20, seed=1), name="new")
    newer = dataclasses.replace(noise_free_session(neurons=3, trials=30, frames=20, seed=2), name="newer")
    first = model.adapt([new], runs=runs)
    both = first.adapt([newer], runs=runs)
    both.save(tmp_path / "model")
    trials, expected = session.trials_of("test"), {"rotations": model, "new": first, "newer": both}
    for known in (both, CalM.load(tmp_path / "model")):
        assert known.sessions == {"rotations": 4, "new": 6, "newer": 3}
        for each in (session, new, newer):
            forecasts = (np.stack(one.forecast(each, trials)) for one in (known, expected[each.name]))
            np.testing.assert_allclose(*forecasts, atol=1e-4)
            assert np.array_equal(known.embeddings(each), expected[each.name].embeddings(each))
    assert both.embeddings(session).any()  # what begins at 0 was trained


def test_a_known_session_that_is_adapted_to_again_is_learned_anew(model, session, runs):
    again = prepare(dataclasses.replace(session, trials=session.trials[[]], preparation=None), seed=5)
    adapted = model.adapt([again], runs=runs)
    assert adapted.sessions == model.sessions and adapted.preparations[session.name].seed == 5
    assert not np.array_equal(adapted.embeddings(again), model.embeddings(session))
    with pytest.raises(CalmError, match="prepared with seed 0"):
        adapted.forecast(session, np.arange(2))


def test_unknown_sessions_are_refused(model):
    stranger = noise_free_session(neurons=6, trials=30, frames=20, seed=1)
    with pytest.raises(CalmError, match="adapt"):
        model.forecast(stranger, stranger.trials_of("test"))


def test_sessions_that_cannot_be_trained_on_are_refused(make_session, session, runs):
    with pytest.raises(CalmError, match="is not prepared"):
        CalM.pretrain([make_session([20] * 10)], short(load_profile("smoke")), runs=runs)
    with pytest.raises(CalmError, match="shortest trial has 20"):
        CalM.pretrain([session], "smoke", runs=runs)


def test_with_a_ready_quantizer_only_the_transformer_is_trained(session, tmp_path):
    ready = calm.load_pretrained("small").quantizer
    model = CalM.pretrain([session], short(load_profile("smoke")), quantizer=ready, runs=tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("quantizer*")) and list((tmp_path / "runs").glob("transformer*"))
    assert model.quantizer is ready and model.profile.quantizer == ready.model.config
    model.save(tmp_path / "model")
    trials, again = session.trials_of("test"), CalM.load(tmp_path / "model")
    np.testing.assert_array_equal(again.forecast(session, trials), model.forecast(session, trials))
    np.testing.assert_array_equal(again.reconstruct(session, trials), model.reconstruct(session, trials))


def test_the_package_offers_what_the_readme_uses():
    assert {"CalM", "load_sessions", "prepare"} <= set(calm.__all__)


def test_forecasts_come_back_in_the_unit_of_the_file(model, session):
    trials = session.trials_of("test")
    scores, original = (model.forecast(session, trials, unit=unit) for unit in ("z-score", "original"))
    mean, sd = (session.neurons[name].to_numpy()[:, None] for name in ("mean", "sd"))
    for score, value in zip(scores, original, strict=True):
        np.testing.assert_allclose((value - mean) / sd, score, atol=1e-4)
    (score,), (value,) = (model.reconstruct(session, trials[:1], unit=unit) for unit in ("z-score", "original"))
    np.testing.assert_allclose((value - mean) / sd, score, atol=1e-4)
    with pytest.raises(CalmError, match="no unit 'dF': choose 'z-score' or 'original'"):
        model.forecast(session, trials, unit="dF")


def test_a_forecast_beyond_the_end_starts_from_the_last_frames(model, session):
    trials = session.trials_of("test")[:2]
    context = model.profile.forecast.context
    ends = tuple(trace[:, -context:] if trial in trials else trace for trial, trace in enumerate(session.traces))
    beyond = model.forecast_beyond(session, trials, horizon=6)
    expected = model.forecast(dataclasses.replace(session, traces=ends), trials, horizon=6)
    np.testing.assert_array_equal(np.stack(beyond), np.stack(expected))
    assert beyond[0].shape == (4, 6) and not np.allclose(beyond[0], model.forecast(session, trials, horizon=6)[0])


def test_possible_futures_have_the_forecasts_of_single_rollouts(model, session):
    trials = session.trials_of("test")
    for unit in ("z-score", "original"):
        futures = model.sample(session, trials, horizon=6, samples=1, unit=unit)
        drawn = model.forecast(session, trials, horizon=6, choice="sample", unit=unit)
        np.testing.assert_array_equal(np.stack(futures)[:, 0], np.stack(drawn))
    (futures,) = model.sample(session, trials[:1], samples=50)
    low, high = central_band(futures, 90)
    assert futures.shape == (50, 4, 12) and low.shape == (4, 12) and (low < high).any()
    assert not np.array_equal(futures[0], futures[1])


def test_a_forecast_is_drawn_behind_its_context_in_the_unit_of_the_recording(model, session, drawing):
    trial = int(session.trials_of("test")[0])
    figure = calm.plot_forecast(model, session, samples=20)
    liveliest = np.argmax(session.traces[trial][:, 8:].var(axis=1))
    drawn = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    (expected,) = model.forecast(session, np.array([trial]), unit="original")
    np.testing.assert_allclose(drawn["CalM"], np.stack([np.arange(8, 20) / session.rate, expected[liveliest]], axis=1))
    assert len(figure.axes) == 4 and figure.axes[0].get_ylabel() == f"neuron {liveliest}\n(a.u.)"


def test_behaviour_is_decoded_from_the_frozen_model(model, session, tmp_path):
    activity = tuple(700 + 300 * trace.mean(axis=0)[:, None] for trace in session.traces)
    as_recorded = {"trials": session.trials[[]], "preparation": None, "behaviour_names": ("activity",)}
    behaving = prepare(dataclasses.replace(session, behaviour=activity, **as_recorded), seed=0)
    longer = model.profile.changed(head_fit=model.profile.head_fit.changed(steps=200, validate_every=50))
    model, trials = dataclasses.replace(model, profile=longer), session.trials_of("test")
    scores, original = (model.decode(behaving, trials, unit=unit, runs=tmp_path) for unit in ("z-score", "original"))
    true = np.concatenate([activity[trial] for trial in trials])
    assert np.corrcoef(np.concatenate(original)[:, 0], true[:, 0])[0, 1] > 0.5
    trained = np.concatenate([activity[trial] for trial in session.trials_of("train")])
    for score, value in zip(scores, original, strict=True):
        np.testing.assert_allclose(value, score * trained.std() + trained.mean(), rtol=1e-4)
    with pytest.raises(CalmError, match="no behaviour to decode"):
        model.fit_decoder(session, runs=tmp_path)


def test_what_the_model_makes_of_trials_is_written_as_nwb(model, session, tmp_path):
    starts = 3.0 * np.arange(len(session.traces))
    times = {"start_time": starts, "stop_time": starts + 3, "first_frame_time": starts}
    timed = dataclasses.replace(session, trials=session.trials.assign(**times))
    trials = session.trials_of("test")
    model.write_nwb(tmp_path / "a.nwb", timed, trials, beyond=4)
    expected = {  # and the frame of each trial that it begins with
        "reconstruction": (model.reconstruct(session, trials, unit="original"), 0),
        "forecast": (model.forecast(session, trials, unit="original"), 8),
        "forecast_beyond": (model.forecast_beyond(session, trials, horizon=4, unit="original"), 20),
    }
    with NWBHDF5IO(tmp_path / "a.nwb", "r") as io:
        written = io.read().processing["calm"]
        for name, (traces, first) in expected.items():
            np.testing.assert_array_equal(written[name].data[:], np.concatenate(traces, axis=1).T)
            assert written[name].timestamps[0] == pytest.approx(starts[trials].min() + first / session.rate)
    model.write_nwb(tmp_path / "b.nwb", timed, trials)
    with NWBHDF5IO(tmp_path / "b.nwb", "r") as io:
        assert "forecast_beyond" not in io.read().processing["calm"].data_interfaces


def test_a_misspelt_choice_is_refused(model, session):
    with pytest.raises(CalmError, match="no choice 'greddy': take one of greedy, sample, expected"):
        model.forecast(session, session.trials_of("test"), choice="greddy")


def test_a_folder_with_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "recording.nwb").write_text("irreplaceable")
    with pytest.raises(CalmError, match="something else than a model"):
        model.save(tmp_path)
    assert (tmp_path / "recording.nwb").read_text() == "irreplaceable"
    for _ in range(2):  # a model may be replaced by a newer one
        model.save(tmp_path / "model")
    assert CalM.load(tmp_path / "model").sessions == model.sessions


def test_a_context_that_ends_within_a_token_is_refused_before_training(session, tmp_path):
    profile = load_profile("smoke")
    with pytest.raises(CalmError, match=r"context` of 9 frames .* multiple of 4"):
        CalM.pretrain([session], profile.changed(forecast=profile.forecast.changed(context=9)), runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_pretraining_says_what_simple_methods_reach(model, session, runs, capsys):
    scores = model.compare([session])
    assert scores.loc[session.name, "ridge VAR"] > 0.95  # the system is linear and has no noise
    assert scores.loc[session.name, "CalM"] < scores.loc[session.name, "ridge VAR"]
    CalM.pretrain([session], model.profile, runs=runs)
    assert "ridge VAR is as good or better" in capsys.readouterr().out
    assert verdict(pd.Series({"CalM": 0.5, "decay": 0.1})) == (
        "Forecast correlation on validation trials: CalM 0.500, decay 0.100."
    )


def test_pretraining_says_first_how_long_it_takes(session, runs, tmp_path, capsys, monkeypatch):
    profile, now = short(load_profile("smoke")), [0.0]

    def costing(seconds):
        def work(*arguments):
            now[0] += seconds(*arguments)

        return work

    with monkeypatch.context() as patched:
        patched.setattr("calm.training.stages.time.perf_counter", lambda: now[0])
        patched.setattr("calm.training.stages.Run.train_steps", costing(lambda run, steps, bar: 3 * steps))
        patched.setattr("calm.training.stages.Run.validate", costing(lambda run: 5))
        told = expected_time([session], profile, None, seed=0, runs=tmp_path)
    # 60 steps of 3 s with two validations of 5 s, and 40 steps with two
    assert told == "Training takes about 5 min on this machine (quantizer 3 min, transformer 2 min)."
    assert not list(tmp_path.iterdir()) and expected_time([session], profile, None, seed=0, runs=runs) == ""
    capsys.readouterr()
    CalM.pretrain([session], profile, runs=tmp_path)
    assert re.match(r"Training takes about \d+ s on this machine \(quantizer", capsys.readouterr().out)


@pytest.mark.parametrize(("seconds", "told"), [(89.0, "89 s"), (90.0, "2 min"), (3600.0, "60 min"), (9000.0, "2.5 h")])
def test_a_time_is_told_in_the_unit_that_suits_it(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize("count", range(1, 12))
def test_sessions_to_tell_the_time_from_are_few_and_of_all_sizes(make_session, count):
    sessions = [make_session([20], neurons=size) for size in range(count, 0, -1)]
    sizes = [len(session.neurons) for session in typical(sessions)]
    assert 1 <= len(set(sizes)) == len(sizes) <= 3 and abs(np.mean(sizes) - (count + 1) / 2) <= 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw, "is not prepared, but was prepared with seed 0"),
        (
            lambda raw: prepare(raw, seed=1),
            "is prepared with seed 1 and smoothing 1, but was .* seed 0 and",
        ),
        (lambda raw: prepare(raw, seed=0, smoothing=0.5), "is prepared .* smoothing 0.5, but was .* smoothing 1 when"),
    ],
)
def test_a_session_that_is_not_prepared_as_in_training_is_refused(model, session, change, told, tmp_path):
    raw = dataclasses.replace(session, trials=session.trials.drop(columns="split"), preparation=None)
    model.save(tmp_path / "model")
    for each in (model, CalM.load(tmp_path / "model")):
        with pytest.raises(CalmError, match=f"Session {session.name} {told}"):
            each.forecast(change(raw), np.arange(2))
