"""Fine-tuning learns the error of forecasts, from where pretraining ended, and trains nothing else than it should."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from fit_cases import first_pass
from linear_systems import noise_free_session

from calm.config.fitting import FitConfig, ForecastConfig
from calm.data.preparation import prepare
from calm.errors import CalmError
from calm.metrics import trial_correlation, trial_mse
from calm.model import CalM
from calm.models.finetuning import TraceTransformer
from calm.models.interfaces import TraceBatch
from calm.profile import load_profile
from calm.training.forecasting import CalMForecaster
from calm.training.stages import Trained
from calm.training.tasks import FineTuningTask

WINDOW = 4


@pytest.fixture
def tuned(dat, dat_config, quantizer):
    """The small transformer on traces, without dropout noise."""
    model = TraceTransformer(dat_config, quantizer.requires_grad_(False), {"uneven": 5, "other": 3}, horizon=10)
    model.load_state_dict(dat.state_dict())
    return model.eval()


@pytest.fixture
def traces():
    return TraceBatch("uneven", torch.arange(5), torch.randn(3, 5, 24))


def test_the_loss_is_that_of_the_forecast(tuned, dat, quantizer, traces, monkeypatch):
    monkeypatch.setattr(tuned, "cut", lambda frames: (12, 10))
    terms = {name: value.item() for name, value in tuned.training_loss(traces).items()}
    known, future = traces.traces.numpy()[..., :12], traces.traces.numpy()[..., 12:22]
    forecaster = CalMForecaster(dat, quantizer, "uneven", ForecastConfig(), choice="expected")
    forecast = forecaster.forecast(list(known), [10] * 3)
    assert terms["mse"] == pytest.approx(np.mean(list(map(trial_mse, future, forecast))), rel=1e-5)
    assert terms["pearson"] == pytest.approx(1 - np.mean(list(map(trial_correlation, future, forecast))), abs=1e-5)
    assert terms["loss"] == pytest.approx(terms["mse"] + terms["pearson"], rel=1e-6)


def test_the_gradient_is_the_slope_of_the_loss(tuned, traces, monkeypatch):
    monkeypatch.setattr(tuned, "cut", lambda frames: (12, 10))
    tuned.double().frozen[0].double()
    traces.traces = traces.traces.double()
    weights = [weight for name, weight in tuned.named_parameters() if not name.endswith("embeddings.1")]
    directions = [torch.randn_like(weight) for weight in weights]

    def loss(step):
        with torch.no_grad():
            torch._foreach_add_(weights, directions, alpha=step)
            value = tuned.training_loss(traces)["loss"]
            torch._foreach_add_(weights, directions, alpha=-step)
        return value

    tuned.training_loss(traces)["loss"].backward()
    slope = sum((weight.grad * direction).sum() for weight, direction in zip(weights, directions, strict=True))
    assert (loss(1e-6) - loss(-1e-6)).item() / 2e-6 == pytest.approx(slope.item(), rel=1e-5)
    assert all(weight.grad is None for weight in tuned.frozen[0].parameters())


@pytest.mark.parametrize(("frames", "horizon", "contexts"), [(24, 10, {4, 8, 12}), (14, 10, {4}), (9, 5, {4})])
def test_contexts_are_whole_tokens_of_random_number_and_leave_the_horizon(tuned, frames, horizon, contexts):
    assert {tuned.cut(frames) for _ in range(100)} == {(context, horizon) for context in contexts}


def make_task(dat, quantizer, sessions, **forecast):
    """Fine-tuning of the small transformer."""
    stages = [Trained(model, pd.DataFrame(), type(model).__name__) for model in (quantizer, dat)]
    return FineTuningTask(stages[0], sessions, dat.config, ForecastConfig(**forecast), transformer=stages[1])


def test_fine_tuning_begins_where_pretraining_ended(dat, quantizer, uneven, make_session):
    other = prepare(make_session([20] * 8, neurons=3, name="other"), seed=0)
    model = make_task(dat, quantizer, [other, uneven]).new_model()
    before, after = dat.state_dict(), model.state_dict()
    for name in before:
        swapped = name.translate(str.maketrans("01", "10")) if "embeddings" in name else name
        assert torch.equal(after[swapped], before[name]), name
    assert model.index == {"other": 0, "uneven": 1} and before.keys() == after.keys()
    alone = make_task(dat, quantizer, [other]).new_model()
    assert torch.equal(alone.neuron_embeddings[0], dat.neuron_embeddings[1]) and len(alone.index) == 1


@pytest.mark.parametrize(("horizon", "trained"), [(None, 60), (24, 24), (90, 60)])
def test_the_horizon_is_that_of_the_forecast_up_to_a_bound(dat, quantizer, uneven, horizon, trained):
    task = make_task(dat, quantizer, [uneven], horizon=horizon)
    assert task.new_model().horizon == trained
    other = make_task(dat, quantizer, [uneven], horizon=horizon, trained_horizon=8)
    assert other.new_model().horizon == 8 and other.inputs != task.inputs


def test_batches_are_training_trials_from_their_start(dat, quantizer, uneven, tmp_path):
    task, config = make_task(dat, quantizer, [uneven]), FitConfig(steps=1, rows=9, neurons=3)
    train = uneven.trials_of("train")
    seen = []
    for batch in first_pass(task.batches(task.new_model(), config, seed=0, runs=tmp_path)):
        length = batch.traces.shape[-1]
        assert batch.traces.shape[1] == len(set(batch.neurons.tolist())) == 3
        for trial in batch.traces.numpy():
            same = [i for i in train if np.array_equal(uneven.traces[i][batch.neurons, :length], trial)]
            seen += same
    assert sorted(seen) == sorted(train)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def session():
    return noise_free_session(neurons=4, trials=30, frames=20, seed=0)


@pytest.fixture(scope="module")
def model(session, runs):
    smoke = load_profile("smoke")
    fit = FitConfig(steps=60, validate_every=20, rows=64, learning_rate=1e-2, adapt_rate=10)
    forecast = smoke.forecast.changed(context=8, trained_horizon=12)
    return CalM.pretrain([session], smoke.changed(forecast=forecast, finetune_fit=fit), runs=runs)


def state(model):
    """Weights of the transformer."""
    return model.transformer.model.state_dict()


def test_the_loss_falls_and_the_forecast_gets_better(model, session, runs):
    tuned = model.finetune([session], runs=runs)
    losses = tuned.transformer.history["loss"].dropna()
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]
    assert tuned.transformer.score > model.transformer.score + 0.01
    same = {name for name, weight in state(tuned).items() if torch.equal(weight, state(model)[name])}
    assert same == {"neighbours", "loadings.0"}
    unchanged = CalM.pretrain([session], model.profile, runs=runs).quantizer.model.state_dict()
    assert all(torch.equal(weight, unchanged[name]) for name, weight in tuned.quantizer.model.state_dict().items())


def test_a_frozen_trunk_stays_as_it_is(model, session, runs):
    tuned = model.finetune([session], trunk=False, runs=runs)
    changed = {name for name, weight in state(tuned).items() if not torch.equal(weight, state(model)[name])}
    assert changed == {"neuron_embeddings.0", "session_embeddings.0"}


def test_a_new_subject_is_adapted_and_its_embeddings_are_tuned(model, session, runs):
    new = dataclasses.replace(noise_free_session(neurons=6, trials=30, frames=20, seed=1), name="new")
    tuned = model.finetune([session], runs=runs)
    both = tuned.adapt([new], runs=runs).finetune([new], trunk=False, runs=runs)
    assert both.sessions == {"new": 6, **model.sessions} and both.embeddings(new).shape == (6, model.profile.dat.width)
    assert np.array_equal(both.embeddings(session), tuned.embeddings(session))
    shared = [name for name in state(both) if not name.startswith(tuned.transformer.model.session_parameters)]
    assert all(torch.equal(state(both)[name], state(tuned)[name]) for name in shared)


def test_a_saved_fine_tuned_model_is_the_same_when_loaded(model, session, runs, tmp_path):
    tuned = model.finetune([session], runs=runs)
    tuned.save(tmp_path / "model")
    again, trials = CalM.load(tmp_path / "model"), session.trials_of("test")
    pairs = zip(tuned.forecast(session, trials), again.forecast(session, trials), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def test_sessions_that_cannot_be_fine_tuned_on_are_refused(model, make_session, runs):
    stranger = noise_free_session(neurons=6, trials=30, frames=20, seed=1)
    with pytest.raises(CalmError, match="does not know session rotations with 6 neurons: `adapt` it"):
        model.finetune([stranger], runs=runs)
    with pytest.raises(CalmError, match="is not prepared"):
        model.finetune([make_session([20] * 10)], runs=runs)
    with pytest.raises(CalmError, match="shortest trial has 10"):
        model.finetune([prepare(make_session([10] * 10), seed=0)], runs=runs)
