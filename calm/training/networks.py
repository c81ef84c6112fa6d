"""What the baselines that are networks share: windows of trials, one fit, forecasts in batches."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from calm.baselines.validation import validation_correlation
from calm.config import Config, FitConfig, ForecastConfig
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.interfaces import Network, WindowBatch
from calm.seeding import epoch_seed, seeded
from calm.storage import stage_key
from calm.training.batches import Epoch, Part, Planned, group_trials, plan_epoch
from calm.training.fit import Task, fit
from calm.training.stages import VALIDATION_FIELDS, Trained, take_over

VERSION = 1  # of this stage; raised with any change to what it computes


def training_part(session: Session, window: int | None) -> Part:
    """The training trials of a session that hold a window.

    Raises:
        CalmError: none is that long.
    """
    trials, frames = session.trials_of("train"), session.frames
    if not (frames[trials] >= (window or 1)).any():
        raise CalmError(
            f"Session {session.name}: no training trial has the {window} frames that are trained on at once: shorten"
            " `context` or `horizon` of a forecast, or a decoder's `window`."
        )
    return Part(len(session.neurons), frames, trials[frames[trials] >= (window or 1)], longest=window)


def plan_windows(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> list[Planned]:
    """The batches of one epoch: of every training trial a window that starts anywhere in it, or the whole of it."""
    parts = [training_part(session, window) for session in sessions]
    everyone = config.model_copy(update={"neurons": max(part.neurons for part in parts)})  # none is left out
    return plan_epoch(parts, everyone, np.random.default_rng(seed))


def window_batches(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> Epoch:
    """Training batches of one epoch, each a WindowBatch."""

    def load(planned: Planned) -> WindowBatch:
        session = sessions[planned.session]
        traces = [session.traces[trial][:, frames] for trial, frames in planned.stretches]
        return WindowBatch(session.name, torch.from_numpy(np.stack(traces)))

    return Epoch(plan_windows(sessions, window, config, seed=seed), load)


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkForecaster:
    """A trained network as a forecaster of one session.

    Attributes:
        network: that knows the session.
        session: its name.
        config: how much is computed at once.
    """

    network: Network
    session: str
    config: ForecastConfig

    @torch.no_grad()
    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Forecast each trial, those with the same horizon together; contexts are all of one length."""
        device = next(self.network.parameters()).device
        forecasts: dict[int, Float[np.ndarray, "neuron _horizon"]] = {}
        size = max(1, self.config.rows // len(contexts[0]))
        for group in group_trials(np.array(horizons), np.arange(len(contexts)), size):
            batch = torch.from_numpy(np.stack([contexts[trial] for trial in group])).to(device)
            predicted = self.network.forecast(self.session, batch, int(horizons[group[0]])).cpu().numpy()
            forecasts |= dict(zip(group.tolist(), predicted, strict=True))
        return [forecasts[trial] for trial in range(len(contexts))]


def new_network(
    kind: type[Network], config: Config, sessions: Sequence[Session], forecast: ForecastConfig, seed: int
) -> Network:
    """An untrained network that knows the given sessions."""
    with seeded(seed):
        return kind(config, forecast.context, {each.name: len(each.neurons) for each in sessions})


def train_network(
    kind: type[Network],
    config: Config,
    fit_config: FitConfig,
    sessions: Sequence[Session],
    forecast: ForecastConfig,
    *,
    seed: int,
    runs: Path,
) -> Trained[Network]:
    """Train a baseline on the training trials of the given sessions, on windows as it asks for them.

    The weights are chosen as CalM's are: by the correlation of forecasts on validation trials.

    Args:
        kind: class of the network.
        config: its numbers.
        fit_config: the loop's numbers; all neurons of a session are in every step.
        sessions: one, or several if the network takes them.
        forecast: context, and what validation uses.
        seed: of the weights and the batches.
        runs: folder of all runs.
    """
    key = network_key(kind, [config, fit_config], sessions, forecast, seed)
    model = new_network(kind, config, sessions, forecast, seed)
    return run_training(model, key, fit_config, sessions, forecast, seed=seed, runs=runs)


def adapt_network(
    pretrained: Trained[Network],
    fit_config: FitConfig,
    sessions: Sequence[Session],
    forecast: ForecastConfig,
    *,
    seed: int,
    runs: Path,
) -> Trained[Network]:
    """New sessions for a pretrained network: all is frozen but what belongs to sessions and their neurons.

    Raises:
        CalmError: a network that knows no sessions has nothing to adapt.
    """
    kind, config = type(pretrained.model), pretrained.model.config
    if not kind.of_sessions:
        raise CalmError(f"{kind.__name__} has no part of its own for a session: train it on the new sessions.")
    key = network_key(kind, [config, fit_config], sessions, forecast, seed, pretrained.key)
    model = new_network(kind, config, sessions, forecast, seed)
    take_over(model, pretrained.model, kind.of_sessions)
    return run_training(model, key, fit_config, sessions, forecast, seed=seed, runs=runs)


def network_key(
    kind: type[Network],
    configs: Sequence[Config],
    sessions: Sequence[Session],
    forecast: ForecastConfig,
    seed: int,
    pretrained: str = "",
) -> str:
    """Key of a training: all that it depends on; of the forecasts only what validation uses."""
    name = kind.__name__.lower()
    used = [f"{field}={getattr(forecast, field)}" for field in VALIDATION_FIELDS]
    inputs = [pretrained, *used, *(session.fingerprint() for session in sessions)]
    return stage_key(name, configs, inputs, seed, VERSION)


def run_training(
    model: Network,
    key: str,
    fit_config: FitConfig,
    sessions: Sequence[Session],
    forecast: ForecastConfig,
    *,
    seed: int,
    runs: Path,
) -> Trained[Network]:
    """Fit a network, or find it again under its key."""

    def validate(candidate: Network) -> float:
        forecasters = [NetworkForecaster(candidate, session.name, forecast) for session in sessions]
        pairs = zip(forecasters, sessions, strict=True)
        return float(np.mean([validation_correlation(*pair, forecast) for pair in pairs]))

    def batches(epoch: int) -> Epoch:
        return window_batches(sessions, model.window, fit_config, seed=epoch_seed(seed, epoch))

    return Trained(model, fit(model, Task(batches, validate), fit_config, seed=seed, folder=runs / key), key)
