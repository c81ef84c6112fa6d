"""What the networks share: windows, rollouts in blocks, batches of forecasts, training and the search."""

import dataclasses

import numpy as np
import pytest
import torch
from fit_cases import first_pass
from linear_systems import noise_free_session

from calm.baselines.itransformer import ITransformer
from calm.baselines.patches import ContinuousPatches
from calm.baselines.poco import POCO
from calm.baselines.tcn import TCN
from calm.baselines.validation import compared_trials, validation_correlation
from calm.config.fitting import FitConfig, ForecastConfig
from calm.config.models import PatchesConfig
from calm.config.rivals import ITransformerConfig, POCOConfig, TCNConfig
from calm.data.session import cut_trials
from calm.errors import CalmError
from calm.models.interfaces import BlockNetwork
from calm.training.batches import window_batches
from calm.training.forecasting import NetworkForecaster
from calm.training.stages import initial_model, train
from calm.training.tasks import ForecasterTask

FORECAST = ForecastConfig(context=12, rows=20)
SMALL = ITransformerConfig(width=8, layers=1, heads=2, ffn=16, horizon=6)
FIT = FitConfig(steps=6, validate_every=3, rows=64, learning_rate=1e-3)


class Drift(ITransformer):
    """Each neuron goes on in steps of one; remembers the batches it was given."""

    def __init__(self):
        super().__init__(SMALL, 3, {"any": 4})
        self.sizes = []

    def forecast(self, session, contexts, horizon):
        self.sizes.append(len(contexts))
        return contexts[..., -1:] + torch.arange(1, horizon + 1)


@pytest.fixture(scope="module")
def session():
    return noise_free_session(neurons=4, trials=30, frames=20, seed=0)


class Growing(BlockNetwork):
    """Adds what it sees to its last frame; remembers it."""

    def __init__(self, block):
        super().__init__(SMALL.changed(horizon=block), 5)
        self.seen = []

    def forward(self, contexts):
        self.seen.append(contexts)
        change = contexts.sum(-1, keepdim=True) * torch.ones(self.config.horizon, dtype=torch.float64)
        return contexts[..., -1:] + change


def test_a_rollout_reads_the_newest_frames_whatever_the_block():
    contexts, network = torch.randn(2, 3, 8, dtype=torch.float64), Growing(3)
    frames = contexts
    for _ in range(7):
        frames = torch.cat([frames, network(frames[..., -5:])[..., :1]], dim=-1)
    assert torch.equal(Growing(1).forecast("any", contexts, 7), frames[..., 8:])
    network.seen.clear()
    found = network.forecast("any", contexts, 7)
    assert found.shape == (2, 3, 7) and [seen.shape[-1] for seen in network.seen] == [5, 5, 5]
    assert torch.equal(torch.cat([contexts, found], dim=-1)[..., 9:14], network.seen[2])


@pytest.mark.parametrize("window", [None, 20, 9])
def test_windows_are_stretches_of_training_trials_each_once_a_pass(session, window):
    batches = first_pass(window_batches([session], window, FIT, seed=3))
    found = torch.cat([batch.traces for batch in batches]).numpy()
    trials = [session.traces[trial] for trial in session.trials_of("train")]
    length = window or 20
    assert found.shape == (len(trials), 4, length)
    stretches = {trace[:, start : start + length].tobytes(): i for i, trace in enumerate(trials) for start in range(12)}
    assert sorted(stretches[np.ascontiguousarray(each).tobytes()] for each in found) == list(range(len(trials)))
    assert all(len(batch.traces) <= 64 // 4 for batch in batches)


def test_windows_start_where_the_seed_says(session):
    first, again, other = (first_pass(window_batches([session], 9, FIT, seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one.traces, two.traces) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0].traces, other[0].traces)
    assert len(first) == len(other)


def test_trials_shorter_than_the_window_are_left_out(uneven):
    train = uneven.trials_of("train")
    batches = first_pass(window_batches([uneven], 24, FIT, seed=0))
    assert sum(len(batch.traces) for batch in batches) == (uneven.frames[train] >= 24).sum() < len(train)
    with pytest.raises(CalmError, match="no training trial has the 40 frames"):
        window_batches([uneven], 40, FIT, seed=0)


def test_all_neurons_of_several_sessions_are_in_the_batches(session, uneven):
    batches = first_pass(window_batches([session, uneven], None, FIT.changed(neurons=2), seed=0))
    assert {(batch.session, batch.traces.shape[1]) for batch in batches} == {(session.name, 4), ("uneven", 5)}


def test_forecasts_come_in_the_order_of_the_trials_whatever_their_horizons():
    contexts = [np.full((4, 3), trial, dtype=np.float32) for trial in range(7)]
    horizons, network = [2, 5, 2, 2, 5, 2, 1], Drift()
    found = NetworkForecaster(network, "any", ForecastConfig(rows=8)).forecast(contexts, horizons)
    for trial, horizon in enumerate(horizons):
        np.testing.assert_array_equal(found[trial], np.tile(trial + np.arange(1, horizon + 1), (4, 1)))
    assert max(network.sizes) == 2  # trials of 4 neurons in 8 rows


def test_a_trained_network_is_found_again_and_another_config_is_trained_anew(session, tmp_path, monkeypatch):
    def train_with(config):
        return train(ForecasterTask(ITransformer, config, [session], FORECAST), FIT, seed=0, runs=tmp_path)

    first = train_with(SMALL)
    assert first.key.startswith("itransformer-")
    with monkeypatch.context() as patched:
        patched.setattr("calm.training.fit.Run.train", lambda *_: pytest.fail("trained again"))
        again = train_with(SMALL)
    assert all(torch.equal(*pair) for pair in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert (again.score, again.seconds, again.parameters) == (first.score, first.seconds, first.parameters)
    assert train_with(SMALL.changed(dropout=0.5)).key != first.key


def test_test_trials_are_never_read(session, tmp_path):
    hidden = [trace.copy() for trace in session.traces]
    for trial in session.trials_of("test"):
        hidden[trial][:] = np.nan
    blinded = dataclasses.replace(session, traces=tuple(hidden))
    config = TCNConfig(width=8, layers=2, kernel=2)
    models = [
        train(ForecasterTask(TCN, config, [each], FORECAST), FIT, seed=0, runs=tmp_path / name).model
        for name, each in (("open", session), ("blinded", blinded))
    ]
    assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in models), strict=True))


def test_the_score_of_a_training_is_that_of_its_weights(session, tmp_path):

    trained = train(ForecasterTask(ITransformer, SMALL, [session], FORECAST), FIT, seed=0, runs=tmp_path)
    forecaster = NetworkForecaster(trained.model, session.name, FORECAST)
    assert trained.score == pytest.approx(validation_correlation(forecaster, session, FORECAST))


POPULATION = POCOConfig(width=8, latents=2, heads=2, head_width=8, hidden=16, compression=4, horizon=8)


PATCHES = PatchesConfig(width=8, layers=1, heads=2, ffn=16)
OF_SESSIONS = {POCO: list(POCO.session_parameters), ContinuousPatches: ["neuron_embeddings.0", "session_embeddings.0"]}


@pytest.mark.parametrize(("kind", "numbers"), [(POCO, POPULATION), (ContinuousPatches, PATCHES)])
def test_adapting_changes_what_belongs_to_sessions_only(session, tmp_path, kind, numbers):
    other = noise_free_session(neurons=3, trials=30, frames=20, seed=1)
    other = dataclasses.replace(other, name="other")
    config = FORECAST.changed(horizon=8)
    first = train(ForecasterTask(kind, numbers, [session], config), FIT, seed=0, runs=tmp_path)
    adapted = train(ForecasterTask(kind, numbers, [other], config), FIT, seed=0, runs=tmp_path, pretrained=first)
    before, after = first.model.state_dict(), adapted.model.state_dict()
    assert [name for name in after if not torch.equal(after[name], before[name])] == OF_SESSIONS[kind]
    assert after[OF_SESSIONS[kind][0]].shape == (3, 8) and adapted.parameters == 3 * 8 + 8
    assert adapted.key != first.key
    assert np.isfinite(validation_correlation(NetworkForecaster(adapted.model, "other", config), other, config))


def test_adapting_that_makes_forecasts_worse_is_undone(session, tmp_path):
    other = dataclasses.replace(noise_free_session(neurons=3, trials=30, frames=20, seed=1), name="other")
    config = FORECAST.changed(horizon=8)
    first = train(ForecasterTask(ContinuousPatches, PATCHES, [session], config), FIT, seed=0, runs=tmp_path)
    task = ForecasterTask(ContinuousPatches, PATCHES, [other], config)
    start = initial_model(task, seed=0, pretrained=first).state_dict()
    adapted = train(task, FIT.changed(adapt_rate=1e6), seed=0, runs=tmp_path, pretrained=first)
    assert adapted.history["step"].iloc[0] == 0 and adapted.history["val"].idxmax() == 0
    assert all(torch.equal(value.cpu(), start[name]) for name, value in adapted.model.state_dict().items())


@dataclasses.dataclass(frozen=True, eq=False)
class LoadingsScored(ForecasterTask):
    """Training changes nothing of the score, which is how large the loadings of a session are, or minus that."""

    sign: int = 1

    @property
    def inputs(self):
        return [*super().inputs, str(self.sign)]

    def validation_score(self, model, fit_config):
        return self.sign * float(model.loadings.of(0).norm())


@pytest.mark.parametrize("sign", [1, -1])
def test_adapting_is_undone_together_with_loadings_that_make_forecasts_worse(session, tmp_path, sign):
    other = dataclasses.replace(noise_free_session(neurons=3, trials=30, frames=20, seed=1), name="other")
    numbers, config = PATCHES.changed(loadings=2.0), FORECAST.changed(horizon=8)
    first = train(ForecasterTask(ContinuousPatches, numbers, [session], config), FIT, seed=0, runs=tmp_path)
    task = LoadingsScored(ContinuousPatches, numbers, [other], config, sign)
    start = initial_model(task, seed=0, pretrained=first).loadings.of(0)
    adapted = train(task, FIT, seed=0, runs=tmp_path, pretrained=first)
    kept = adapted.model.loadings.of(0).cpu()
    assert torch.equal(kept, start) and start.any() if sign > 0 else not kept.any()
    assert adapted.score == adapted.history["val"].iloc[0] == sign * float(kept.norm())
    assert adapted.history["val"].iloc[-1] == pytest.approx(sign * float(start.norm()))  # training goes on with them


def test_a_network_that_knows_no_sessions_cannot_be_adapted(session, tmp_path):
    first = train(ForecasterTask(ITransformer, SMALL, [session], FORECAST), FIT, seed=0, runs=tmp_path)
    with pytest.raises(CalmError, match="ITransformer has no part of its own for a session"):
        train(ForecasterTask(ITransformer, SMALL, [session], FORECAST), FIT, seed=0, runs=tmp_path, pretrained=first)


def test_forecasts_are_compared_up_to_the_horizon_on_trials_that_reach_it(uneven):
    config = ForecastConfig(context=12, horizon=10)
    trials = compared_trials(uneven, "train", config)
    assert trials.tolist() == [trial for trial in uneven.trials_of("train") if uneven.frames[trial] >= 22]
    _, futures = cut_trials(uneven, trials, 12, 10)
    assert {future.shape for future in futures} == {(5, 10)}
    with pytest.raises(CalmError, match="no val trial has the 52 frames"):
        compared_trials(uneven, "val", ForecastConfig(context=12, horizon=40))
