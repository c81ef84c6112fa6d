"""The training stages; each is kept under a hash of what it was made from, and found again by any notebook."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from torch import nn

from calm.baselines.validation import validation_correlation
from calm.data.session import Session
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer
from calm.paths import file_name
from calm.profile import Profile
from calm.seeding import epoch_seed, seeded
from calm.storage import stage_key
from calm.training.batches import trace_batches
from calm.training.fit import Task, fit
from calm.training.forecasting import CalMForecaster
from calm.training.reconstruction import reconstruction_correlations
from calm.training.tokens import TokenSession, store_tokens, token_batches

VERSION = 1  # of this stage; raised with any change to what it computes
VALIDATION_FIELDS = ("context", "horizon", "validation_trials")  # of the forecasts, what training depends on
Model = TypeVar("Model", bound=nn.Module)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(Generic[Model]):
    """A trained model, its history (a row an epoch) and the key it is kept under."""

    model: Model
    history: pd.DataFrame
    key: str

    @property
    def score(self) -> float:
        """Best validation score: that of the weights that were kept."""
        return float(self.history["val"].max())

    @property
    def seconds(self) -> float:
        """Wall time of the training, validation included."""
        return float(self.history["seconds"].sum())

    @property
    def parameters(self) -> int:
        """Number of weights that were trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)


def train_quantizer(
    sessions: Sequence[Session], profile: Profile, *, seed: int, runs: Path
) -> Trained[NeuralQuantizer]:
    """Stage 1: one quantizer for all given sessions, on their training trials; chosen on validation trials."""
    configs = [profile.quantizer, profile.quantizer_fit]
    key = stage_key("quantizer", configs, [session.fingerprint() for session in sessions], seed, VERSION)
    with seeded(seed):
        model = NeuralQuantizer(profile.quantizer)
    window = profile.quantizer.window
    task = Task(
        batches=lambda epoch: trace_batches(sessions, profile.quantizer_fit, window, seed=epoch_seed(seed, epoch)),
        validate=lambda candidate: float(
            np.mean([reconstruction_correlations(candidate, each, each.trials_of("val")).mean() for each in sessions])
        ),
    )
    return Trained(model, fit(model, task, profile.quantizer_fit, seed=seed, folder=runs / key), key)


def new_transformer(
    quantizer: NeuralQuantizer, sessions: Sequence[Session], profile: Profile, seed: int
) -> DualAxisTransformer:
    """An untrained transformer that knows the given sessions."""
    with seeded(seed):
        vectors = quantizer.codebook.vectors.detach().cpu()
        return DualAxisTransformer(profile.dat, vectors, {each.name: len(each.neurons) for each in sessions})


def train_transformer(
    quantizer: Trained[NeuralQuantizer], sessions: Sequence[Session], profile: Profile, *, seed: int, runs: Path
) -> Trained[DualAxisTransformer]:
    """Stage 2: one transformer for all given sessions, on the tokens of their training trials.

    The weights are chosen by the correlation of rollouts on validation trials, not by the loss: coupling between
    neurons is learned late, and the loss hardly shows it.
    """
    key = forecast_key("dat", quantizer.key, sessions, profile, seed)
    model = new_transformer(quantizer.model, sessions, profile, seed)
    task = forecast_task(quantizer, sessions, profile, seed, runs)
    return Trained(model, fit(model, task, profile.dat_fit, seed=seed, folder=runs / key), key)


def adapt_transformer(
    pretrained: Trained[DualAxisTransformer],
    quantizer: Trained[NeuralQuantizer],
    sessions: Sequence[Session],
    profile: Profile,
    *,
    seed: int,
    runs: Path,
) -> Trained[DualAxisTransformer]:
    """New sessions for a pretrained transformer: all is frozen but their neuron and session embeddings (spec 3)."""
    key = forecast_key("adapted", pretrained.key, sessions, profile, seed)
    model = with_new_sessions(pretrained.model, quantizer.model, sessions, profile, seed)
    task = forecast_task(quantizer, sessions, profile, seed, runs)
    return Trained(model, fit(model, task, profile.dat_fit, seed=seed, folder=runs / key), key)


def with_new_sessions(
    pretrained: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    sessions: Sequence[Session],
    profile: Profile,
    seed: int,
) -> DualAxisTransformer:
    """The pretrained transformer, frozen, with untrained embeddings of other sessions: where adaptation begins."""
    model = new_transformer(quantizer, sessions, profile, seed)
    take_over(model, pretrained, pretrained.of_sessions)
    return model


def take_over(model: nn.Module, pretrained: nn.Module, own: tuple[str, ...]) -> None:
    """Give a model the weights of a pretrained one, frozen; those whose names begin with one of `own` stay its own."""
    shared = {name: value for name, value in pretrained.state_dict().items() if not name.startswith(own)}
    model.load_state_dict(shared, strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(own))


def forecast_key(name: str, earlier: str, sessions: Sequence[Session], profile: Profile, seed: int) -> str:
    """Key of a transformer; of the forecasts only what validation uses matters, not how many samples come later."""
    used = [f"{field}={getattr(profile.forecast, field)}" for field in VALIDATION_FIELDS]
    inputs = [earlier, *used, *(session.fingerprint() for session in sessions)]
    return stage_key(name, [profile.dat, profile.dat_fit], inputs, seed, VERSION)


def forecast_task(
    quantizer: Trained[NeuralQuantizer], sessions: Sequence[Session], profile: Profile, seed: int, runs: Path
) -> Task:
    """Next-token prediction, validated by forecasts; the tokens are kept beside the quantizer."""
    folders = [
        runs / f"{quantizer.key}-tokens" / f"{file_name(each.name)}-{each.fingerprint()[:12]}" for each in sessions
    ]
    pairs = zip(sessions, folders, strict=True)
    tokens: list[TokenSession] = [store_tokens(quantizer.model, *pair) for pair in pairs]

    def validate(candidate: DualAxisTransformer) -> float:
        # By the choice that is both cheap and free of noise.
        given = {"config": profile.forecast, "choice": "expected"}
        forecasters = [CalMForecaster(candidate, quantizer.model, session.name, **given) for session in sessions]
        pairs = zip(forecasters, sessions, strict=True)
        return float(np.mean([validation_correlation(*pair, profile.forecast) for pair in pairs]))

    return Task(
        batches=lambda epoch: token_batches(tokens, profile.dat_fit, seed=epoch_seed(seed, epoch)), validate=validate
    )
