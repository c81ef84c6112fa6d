"""Behaviour from features: heads trained on one session or many, and on new sessions by their bank rows alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from calm.config import Config, FitConfig, HeadConfig
from calm.data.behaviour import shared_behaviours
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.heads import BehaviourHead, FeatureBatch, GLUHead, LinearHead
from calm.profile import Profile
from calm.seeding import epoch_seed, seeded
from calm.storage import stage_key
from calm.training.batches import Epoch, Part, Planned, group_trials, plan_epoch
from calm.training.features import Extractor, FeatureSession, whole_frames
from calm.training.fit import Task, fit
from calm.training.search import Search, search
from calm.training.stages import Trained, take_over

HEADS: dict[str, type[BehaviourHead]] = {"linear head": LinearHead, "GLU head": GLUHead}
VERSION = 1  # of this stage; raised with any change to what it computes
UNLABELLED = "unlabelled"  # in the column `split`: a training trial whose behaviour is not to be used


def with_share(session: Session, share: float, *, seed: int) -> Session:
    """The session with behaviour known on only a share of its training trials, at least one.

    The other training trials become `unlabelled` in the column `split`; validation and test trials stay as they are.
    With the same seed, the trials of a smaller share are among those of a larger one. Traces and their scale do not
    change, so that `calm.training.features.store_features` finds the features again.

    Raises:
        CalmError: a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise CalmError(f"A share of {share} of the training trials cannot be taken: choose one above 0, at most 1.")
    train = np.random.default_rng(seed).permutation(session.trials_of("train"))
    split = session.trials["split"].to_numpy(dtype=object, copy=True)
    split[train[max(1, round(share * len(train))) :]] = UNLABELLED
    return dataclasses.replace(session, trials=session.trials.assign(split=split))


def feature_batches(sessions: Sequence[FeatureSession], config: FitConfig, *, seed: int) -> Epoch:
    """Training batches of one epoch, each a FeatureBatch of all neurons of a session."""
    parts = [Part(len(each.session.neurons), each.tokens, each.session.trials_of("train")) for each in sessions]
    everyone = config.model_copy(update={"neurons": max(part.neurons for part in parts)})  # none is left out

    def load(planned: Planned) -> FeatureBatch:
        return sessions[planned.session].batch(planned.stretches)

    return Epoch(plan_epoch(parts, everyone, np.random.default_rng(seed)), load)


@torch.no_grad()
def validation_error(head: BehaviourHead, features: FeatureSession, rows: int) -> float:
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
        recorded = head.weigh(batch)
        predicted = head(batch.session, batch.features.to(head.bias.device)).cpu()
        total += float((predicted - batch.behaviour).square().nansum())
        count += recorded
    return total / count


def new_head(
    kind: type[BehaviourHead], config: HeadConfig, sessions: Sequence[FeatureSession], seed: int
) -> BehaviourHead:
    """An untrained head that knows the given sessions.

    Raises:
        CalmError: see `calm.data.behaviour.shared_behaviours`.
    """
    shared_behaviours([each.session for each in sessions])
    first, neurons = sessions[0], {each.session.name: len(each.session.neurons) for each in sessions}
    with seeded(seed):
        behaviours = len(first.session.behaviour_names)
        return kind(config, first.extractor.channels, first.extractor.window, behaviours, neurons)


def head_key(
    kind: type[BehaviourHead], configs: Sequence[Config], sessions: Sequence[FeatureSession], seed: int, earlier: str
) -> str:
    """Key of a training: all that it depends on."""
    inputs = [earlier, *(text for each in sessions for text in (each.extractor.key, each.session.fingerprint()))]
    return stage_key(kind.__name__.lower(), configs, inputs, seed, VERSION)


def train_head(
    kind: type[BehaviourHead],
    config: HeadConfig,
    fit_config: FitConfig,
    sessions: Sequence[FeatureSession],
    *,
    seed: int,
    runs: Path,
) -> Trained[BehaviourHead]:
    """Train a head on the training trials of the given sessions; the features stay as they are (spec 4).

    The weights are chosen by the mean squared error on validation trials, mean over sessions; the score of the training
    is its negative. The paper chooses its baselines so, and does not say how it chooses the heads.

    Args:
        kind: LinearHead or GLUHead.
        config: its numbers.
        fit_config: the loop's numbers; all neurons of a session are in every step.
        sessions: one, or several, which then share all but their bank rows.
        seed: of the weights and the batches.
        runs: folder of all runs.

    Raises:
        CalmError: see `calm.data.behaviour.shared_behaviours`.
    """
    head = new_head(kind, config, sessions, seed)
    key = head_key(kind, [config, fit_config], sessions, seed, "")
    return run_training(head, key, fit_config, sessions, seed=seed, runs=runs)


def adapt_head(
    pretrained: Trained[BehaviourHead],
    fit_config: FitConfig,
    sessions: Sequence[FeatureSession],
    *,
    seed: int,
    runs: Path,
) -> Trained[BehaviourHead]:
    """New sessions for a trained head: all is frozen but their bank rows (spec 4).

    Raises:
        CalmError: see `calm.data.behaviour.shared_behaviours`; or features or behaviours that the head was not made for.
    """
    head = new_head(type(pretrained.model), pretrained.model.config, sessions, seed)
    known = pretrained.model.state_dict()
    shared = [name for name in known if not name.startswith(head.of_sessions)]
    if any(head.state_dict()[name].shape != known[name].shape for name in shared):
        raise CalmError(
            f"The head was trained on other features or behaviours than those of session {sessions[0].session.name}:"
            " adapt one that was trained on the same."
        )
    take_over(head, pretrained.model, head.of_sessions)
    key = head_key(type(head), [head.config, fit_config], sessions, seed, pretrained.key)
    return run_training(head, key, fit_config, sessions, seed=seed, runs=runs)


def run_training(
    head: BehaviourHead, key: str, fit_config: FitConfig, sessions: Sequence[FeatureSession], *, seed: int, runs: Path
) -> Trained[BehaviourHead]:
    """Fit a head, or find it again under its key."""
    task = Task(
        batches=lambda epoch: feature_batches(sessions, fit_config, seed=epoch_seed(seed, epoch)),
        validate=lambda candidate: (
            -float(np.mean([validation_error(candidate, each, fit_config.rows) for each in sessions]))
        ),
    )
    return Trained(head, fit(head, task, fit_config, seed=seed, folder=runs / key), key)


def search_head(
    kind: type[BehaviourHead], sessions: Sequence[FeatureSession], profile: Profile, *, seed: int, runs: Path
) -> Search[BehaviourHead]:
    """A head on the given sessions with each learning rate of the search."""

    def train(tried: FitConfig) -> Trained[BehaviourHead]:
        return train_head(kind, profile.head, tried, sessions, seed=seed, runs=runs)

    return search(train, profile.head_fit, profile.learning_rates)


def search_bank(
    pretrained: Trained[BehaviourHead], sessions: Sequence[FeatureSession], profile: Profile, *, seed: int, runs: Path
) -> Search[BehaviourHead]:
    """Bank rows of new sessions with each learning rate of the search."""

    def train(tried: FitConfig) -> Trained[BehaviourHead]:
        return adapt_head(pretrained, tried, sessions, seed=seed, runs=runs)

    return search(train, profile.bank_fit, profile.learning_rates)


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

        Frames behind the last whole token have no features: they repeat the value before them, and are not scored (see
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
        features = self.extractor.extract(self.session, trace).to(self.head.bias.device)
        decoded = self.head(self.session, features[:, None])[0].cpu().numpy()
        return np.pad(decoded, ((0, trace.shape[1] - whole), (0, 0)), mode="edge")
