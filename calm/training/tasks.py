"""The tasks of models that forecast: what each learns, from which trials, and the score that chooses its weights."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from calm.baselines.validation import validation_correlations
from calm.config.fitting import FitConfig, ForecastConfig
from calm.config.models import DATConfig, QuantizerConfig
from calm.data.session import Session, fingerprints, neuron_counts
from calm.errors import CalmError
from calm.models.finetuning import TraceTransformer
from calm.models.interfaces import Network
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paths import file_name
from calm.profile import Profile
from calm.training.batches import Batches, trace_batches, trial_batches, window_batches
from calm.training.forecasting import CalMForecaster, NetworkForecaster
from calm.training.reconstruction import reconstruction_correlations
from calm.training.stages import KindTask, Model, Task, Trained, expected_seconds, key_of, train, untrained
from calm.training.tokens import store_tokens, token_batches


def introduced(model: Model, sessions: Sequence[Session]) -> Model:
    """The model, which has seen the training traces of its sessions."""
    for session in sessions:
        model.introduce(session.name, [session.traces[trial] for trial in session.trials_of("train")])
    return model


def validation_settings(forecast: ForecastConfig) -> list[str]:
    """Of the forecasts, what validation depends on; not how many samples come later."""
    return [f"{field}={getattr(forecast, field)}" for field in ("context", "horizon", "validation_trials")]


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizerTask(Task[NeuralQuantizer]):
    """Stage 1: one quantizer for all sessions; its weights are chosen by the correlation of reconstructions."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "quantizer"
    sessions: Sequence[Session]
    config: QuantizerConfig

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return fingerprints(self.sessions)

    def new_model(self) -> NeuralQuantizer:
        """An untrained quantizer."""
        return NeuralQuantizer(self.config)

    def batches(self, model: NeuralQuantizer, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Stretches of traces of single neurons."""
        return trace_batches(self.sessions, fit_config, self.config.window, seed=seed)

    def validation_score(self, model: NeuralQuantizer, fit_config: FitConfig) -> float:
        """Mean correlation of trace and reconstruction."""
        scores = [reconstruction_correlations(model, each, each.trials_of("val")).mean() for each in self.sessions]
        return float(np.mean(scores))


@dataclasses.dataclass(frozen=True, eq=False)
class TransformerTask(Task[DualAxisTransformer]):
    """Stage 2: one transformer for all sessions learns to predict the next token.

    The weights are chosen by the correlation of rollouts on validation trials, not by the loss, which hardly shows the
    coupling between neurons.
    """

    VERSION: ClassVar[int] = 2
    name: ClassVar[str] = "transformer"
    quantizer: Trained[NeuralQuantizer]
    sessions: Sequence[Session]
    config: DATConfig
    forecast: ForecastConfig

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return [self.quantizer.key, *validation_settings(self.forecast), *fingerprints(self.sessions)]

    def new_model(self) -> DualAxisTransformer:
        """An untrained transformer, whose token table starts from the quantizer's codes."""
        vectors = self.quantizer.model.codebook.vectors.detach().cpu()
        return introduced(DualAxisTransformer(self.config, vectors, neuron_counts(self.sessions)), self.sessions)

    def batches(self, model: DualAxisTransformer, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Tokens, which are kept beside the quantizer."""
        folder = runs / f"{self.quantizer.key}-tokens"
        tokens = [
            store_tokens(
                self.quantizer.model, session, folder / f"{file_name(session.name)}-{session.fingerprint()[:12]}"
            )
            for session in self.sessions
        ]
        return token_batches(tokens, fit_config, seed=seed)

    def validation_score(self, model: DualAxisTransformer, fit_config: FitConfig) -> float:
        """Mean correlation of forecasts, by the choice of tokens that is both cheap and free of noise."""

        def forecaster_of(session: Session) -> CalMForecaster:
            return CalMForecaster(model, self.quantizer.model, session.name, self.forecast, choice="expected")

        return validation_correlations(forecaster_of, self.sessions, self.forecast)


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuningTask(TransformerTask):
    """A trained transformer goes on learning, from traces, and is chosen as before (see `calm.models.finetuning`).

    Under a `pretrained` model (see `calm.training.stages.train`), whose frozen trunk takes the place of its own, only
    what belongs to sessions and their neurons is trained.
    """

    VERSION: ClassVar[int] = 3
    name: ClassVar[str] = "finetuned"
    transformer: Trained[DualAxisTransformer]

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return [self.transformer.key, f"horizon={self.horizon}", *super().inputs]

    @property
    def horizon(self) -> int:
        """Frames that are forecast in training, at most."""
        return min(self.forecast.horizon or self.forecast.trained_horizon, self.forecast.trained_horizon)

    def new_model(self) -> TraceTransformer:
        """The transformer, with the embeddings of the task's sessions only."""
        models = self.transformer.model, self.quantizer.model
        return TraceTransformer.of(*models, neuron_counts(self.sessions), self.horizon)

    def batches(self, model: TraceTransformer, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Training trials from their start."""
        return trial_batches(self.sessions, fit_config, seed=seed)


@dataclasses.dataclass(frozen=True, eq=False)
class ForecasterTask(KindTask[Network]):
    """A rival learns to forecast, from windows of all neurons; its weights are chosen as the transformer's are."""

    VERSION: ClassVar[int] = 1
    sessions: Sequence[Session]
    forecast: ForecastConfig

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return [*validation_settings(self.forecast), *fingerprints(self.sessions)]

    def new_model(self) -> Network:
        """An untrained network."""
        return introduced(self.kind(self.config, self.forecast.context, neuron_counts(self.sessions)), self.sessions)

    def batches(self, model: Network, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Windows of traces, as long as the network asks for."""
        return window_batches(self.sessions, model.window, fit_config, seed=seed)

    def validation_score(self, model: Network, fit_config: FitConfig) -> float:
        """Mean correlation of forecasts."""

        def forecaster_of(session: Session) -> NetworkForecaster:
            return NetworkForecaster(model, session.name, self.forecast)

        return validation_correlations(forecaster_of, self.sessions, self.forecast)


def train_quantizer(
    sessions: Sequence[Session], profile: Profile, *, seed: int, runs: Path
) -> Trained[NeuralQuantizer]:
    """Stage 1 on the training trials of sessions (Sec. 3.1); found again if it was done before."""
    return train(QuantizerTask(sessions, profile.quantizer), profile.quantizer_fit, seed=seed, runs=runs)


def expected_time(
    sessions: Sequence[Session], profile: Profile, quantizer: Trained[NeuralQuantizer] | None, *, seed: int, runs: Path
) -> str:
    """How long pretraining takes on this machine, in a sentence; none if some of it was done before.

    `quantizer` is a ready one, or None if it is to be trained.
    """
    stages: list[tuple[Task, FitConfig]] = []
    if quantizer is None:
        stages.append((QuantizerTask(sessions, profile.quantizer), profile.quantizer_fit))
        quantizer = dataclasses.replace(untrained(stages[0][0], seed=seed), key=key_of(*stages[0], seed=seed))
    stages.append((TransformerTask(quantizer, sessions, profile.dat, profile.forecast), profile.dat_fit))
    if any((runs / key_of(*stage, seed=seed)).exists() for stage in stages):
        return ""
    with contextlib.suppress(CalmError):  # the training itself tells what is wrong
        seconds = [expected_seconds(*stage, seed=seed) for stage in stages]
        each = ", ".join(f"{task.name} {duration(time)}" for (task, _), time in zip(stages, seconds, strict=True))
        return f"Training takes about {duration(sum(seconds))} on this machine ({each})."
    return ""


def duration(seconds: float) -> str:
    """`40 s`, `11 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
