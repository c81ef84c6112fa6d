"""Decoders of behaviour: what heads on features and the rivals learn from, their tasks, and what was trained in use."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from calm.baselines.validation import validation_error
from calm.config.fitting import FitConfig
from calm.config.models import HeadConfig
from calm.data.session import Session, fingerprints, neuron_counts, odd_rates, shared_behaviours
from calm.errors import CalmError
from calm.models.heads import BehaviourHead, FeatureBatch, GLUHead, LinearHead
from calm.models.interfaces import DecoderNetwork
from calm.training.batches import Batches, Stretches, TrainingTrials, all_neurons, decoding_batches, group_trials
from calm.training.features import Extractor, FeatureSession, whole_frames
from calm.training.stages import KindTask

HEADS: dict[str, type[BehaviourHead]] = {"linear head": LinearHead, "GLU head": GLUHead}
ROWS = 20_000  # traces decoded at once
UNLABELLED = "unlabelled"  # in the column `split`: a training trial whose behaviour is not to be used


def with_share(session: Session, share: float, *, seed: int) -> Session:
    """The session with behaviour known on only a share of its training trials, at least one.

    The other training trials become `unlabelled` in the column `split`; validation and test trials stay as they are.
    With the same seed, the trials of a smaller share are among those of a larger one. Traces and their scale do not
    change, nor do features of them.

    Raises:
        CalmError: a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise CalmError(f"A share of {share} of the training trials cannot be taken: choose one above 0, at most 1.")
    train = np.random.default_rng(seed).permutation(session.trials_of("train"))
    split = session.trials["split"].to_numpy(dtype=object, copy=True)
    split[train[max(1, round(share * len(train))) :]] = UNLABELLED
    return dataclasses.replace(session, trials=session.trials.assign(split=split))


def feature_batches(sessions: Sequence[FeatureSession], config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a FeatureBatch of all neurons of a session."""
    trials = [
        TrainingTrials(len(each.session.neurons), each.tokens, each.session.trials_of("train")) for each in sessions
    ]

    def load(stretches: Stretches) -> FeatureBatch:
        return sessions[stretches.session].batch(list(stretches))

    return Batches(trials, all_neurons(trials, config), load, seed=seed)


@torch.no_grad()
def feature_error(head: BehaviourHead, features: FeatureSession, rows: int) -> float:
    """Mean squared error over all recorded validation values of a session, on whole tokens; z-scores squared.

    Args:
        head: that knows the session.
        features: of the session.
        rows: traces (trial x neuron) at once.
    """
    total, count = 0.0, 0
    size = max(1, rows // len(features.session.neurons))
    for group in group_trials(features.tokens, features.session.trials_of("val"), size):
        batch = features.whole(group)
        recorded = head.count_predictions(batch)
        predicted = head(batch.session, batch.features.to(head.bias.device)).cpu()
        total += float((predicted - batch.behaviour).square().nansum())
        count += recorded
    return total / count


@dataclasses.dataclass(frozen=True, eq=False)
class HeadDecoder:
    """A trained head on its features as a decoder of one session.

    Attributes:
        head: that knows the session.
        extractor: of the features that it was trained on.
        session: its name.
    """

    head: BehaviourHead
    extractor: Extractor
    session: str

    @torch.no_grad()
    def decode(
        self, traces: Sequence[Float[np.ndarray, "neuron _frame"]]
    ) -> list[Float[np.ndarray, "_frame behaviour"]]:
        """Traces -> features -> behaviour, trial by trial, both in z-scores.

        Frames after the last whole token have no features: they repeat the value before them, and are not scored (see
        `calm.training.features.on_whole_tokens`).

        Raises:
            CalmError: a trial shorter than a token.
        """
        return [self.decode_trial(trace) for trace in traces]

    def decode_trial(self, trace: Float[np.ndarray, "neuron frame"]) -> Float[np.ndarray, "frame behaviour"]:
        """One trial."""
        if not (whole := whole_frames(trace.shape[1], self.extractor.window)):
            raise CalmError(
                f"A trial of {trace.shape[1]} frames is shorter than a token of {self.extractor.window}: leave it out."
            )
        features = torch.from_numpy(self.extractor.features(self.session, trace)).to(self.head.bias.device)
        decoded = self.head(self.session, features[:, None])[0].cpu().numpy()
        return np.pad(decoded, ((0, trace.shape[1] - whole), (0, 0)), mode="edge")


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkDecoder:
    """A trained network as a decoder of one session.

    Attributes:
        network: that knows the session.
        session: its name.
    """

    network: DecoderNetwork
    session: str

    @torch.no_grad()
    def decode(
        self, traces: Sequence[Float[np.ndarray, "neuron _frame"]]
    ) -> list[Float[np.ndarray, "_frame behaviour"]]:
        """Behaviour on every frame, in z-scores; trials of the same length are decoded together."""
        device = next(self.network.parameters()).device
        frames = np.array([trace.shape[1] for trace in traces])
        decoded: dict[int, Float[np.ndarray, "_frame behaviour"]] = {}
        for group in group_trials(frames, np.arange(len(traces)), max(1, ROWS // len(traces[0]))):
            batch = torch.from_numpy(np.stack([traces[trial] for trial in group])).to(device)
            decoded |= dict(zip(group.tolist(), self.network.decode(self.session, batch).cpu().numpy(), strict=True))
        return [decoded[trial] for trial in range(len(traces))]


@dataclasses.dataclass(frozen=True, eq=False)
class DecoderTask(KindTask[DecoderNetwork]):
    """A rival learns to decode behaviour, from windows of all neurons; chosen by the squared error, negative."""

    VERSION: ClassVar[int] = 1
    sessions: Sequence[Session]

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return [f"rate={shared_rate(self.sessions)}", *fingerprints(self.sessions)]

    def new_model(self) -> DecoderNetwork:
        """An untrained network.

        Raises:
            CalmError: sessions without behaviour, or that differ in it or in their rate.
        """
        behaviours = len(shared_behaviours(self.sessions))
        return self.kind(self.config, neuron_counts(self.sessions), behaviours, shared_rate(self.sessions))

    def batches(self, model: DecoderNetwork, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Windows of traces and behaviour, as long as the network asks for."""
        return decoding_batches(self.sessions, model.window, fit_config, seed=seed)

    def validation_score(self, model: DecoderNetwork, fit_config: FitConfig) -> float:
        """Mean squared error, negative."""
        return -float(np.mean([validation_error(NetworkDecoder(model, each.name), each) for each in self.sessions]))


@dataclasses.dataclass(frozen=True, eq=False)
class HeadTask(KindTask[BehaviourHead]):
    """A head learns to decode behaviour from features that stay as they are (Sec. 3.4).

    The weights are chosen by the mean squared error on validation trials, negative. The paper chooses its baselines so,
    and does not say how it chooses the heads.
    """

    VERSION: ClassVar[int] = 2
    config: HeadConfig
    features: Sequence[FeatureSession]

    @property
    def inputs(self) -> list[str]:
        """What the training depends on besides its numbers."""
        return [text for each in self.features for text in (each.extractor.key, each.session.fingerprint())]

    def new_model(self) -> BehaviourHead:
        """An untrained head.

        Raises:
            CalmError: see `calm.data.session.shared_behaviours`.
        """
        sessions, extractor = [each.session for each in self.features], self.features[0].extractor
        behaviours = len(shared_behaviours(sessions))
        return self.kind(self.config, extractor.channels, extractor.window, behaviours, neuron_counts(sessions))

    def batches(self, model: BehaviourHead, fit_config: FitConfig, *, seed: int, runs: Path) -> Batches:
        """Features and behaviour of all neurons of a session."""
        return feature_batches(self.features, fit_config, seed=seed)

    def validation_score(self, model: BehaviourHead, fit_config: FitConfig) -> float:
        """Mean squared error, negative."""
        return -float(np.mean([feature_error(model, each, fit_config.rows) for each in self.features]))


def shared_rate(sessions: Sequence[Session]) -> float:
    """Frames per second, the mean over sessions.

    Raises:
        CalmError: sessions differ in it.
    """
    if odd := odd_rates(sessions):
        raise CalmError(f"One network decodes sessions of one rate only, and {odd}")
    return float(np.mean([session.rate for session in sessions]))
