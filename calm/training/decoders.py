"""What decoders share: windows with behaviour, one fit, whole trials decoded in batches."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from calm.baselines.validation import validation_error
from calm.config import Config, FitConfig
from calm.data.behaviour import shared_behaviours
from calm.data.session import Session
from calm.errors import CalmError
from calm.models.interfaces import DecoderNetwork, DecodingBatch
from calm.seeding import epoch_seed, seeded
from calm.storage import stage_key
from calm.training.batches import Epoch, Planned, group_trials
from calm.training.fit import Task, fit
from calm.training.networks import plan_windows
from calm.training.stages import Trained, take_over

VERSION = 1  # of this stage; raised with any change to what it computes
ROWS = 20_000  # traces decoded at once
SAME_RATE = 0.01  # relative difference in frames per second that sessions of one network may have


def shared_rate(sessions: Sequence[Session]) -> float:
    """Frames per second, the mean over sessions.

    Raises:
        CalmError: sessions differ in it.
    """
    rates = [session.rate for session in sessions]
    if not np.allclose(rates, rates[0], rtol=SAME_RATE):
        raise CalmError(
            f"The sessions have {min(rates):.3g} to {max(rates):.3g} frames per second: one network decodes sessions"
            " of one rate only."
        )
    return float(np.mean(rates))


def decoding_batches(sessions: Sequence[Session], window: int | None, config: FitConfig, *, seed: int) -> Epoch:
    """Training batches of one epoch, each a DecodingBatch: a window of every training trial, or the whole of it."""

    def load(planned: Planned) -> DecodingBatch:
        session = sessions[planned.session]
        traces = np.stack([session.traces[trial][:, frames] for trial, frames in planned.stretches])
        behaviour = np.stack([session.behaviour[trial][frames] for trial, frames in planned.stretches])
        return DecodingBatch(session.name, torch.from_numpy(traces), torch.from_numpy(behaviour))

    return Epoch(plan_windows(sessions, window, config, seed=seed), load)


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


def new_decoder(kind: type[DecoderNetwork], config: Config, sessions: Sequence[Session], seed: int) -> DecoderNetwork:
    """An untrained network that knows the given sessions."""
    neurons, behaviours = {each.name: len(each.neurons) for each in sessions}, len(shared_behaviours(sessions))
    with seeded(seed):
        return kind(config, neurons, behaviours, shared_rate(sessions))


def train_decoder(
    kind: type[DecoderNetwork],
    config: Config,
    fit_config: FitConfig,
    sessions: Sequence[Session],
    *,
    seed: int,
    runs: Path,
) -> Trained[DecoderNetwork]:
    """Train a decoder on the training trials of the given sessions, on windows as it asks for them.

    The weights are chosen by the squared error on validation trials; the score is its mean over sessions, negative.

    Args:
        kind: class of the network.
        config: its numbers.
        fit_config: the loop's numbers; all neurons of a session are in every step.
        sessions: one, or several if the network takes them.
        seed: of the weights and the batches.
        runs: folder of all runs.

    Raises:
        CalmError: sessions without behaviour, or that differ in it or in their rate.
    """
    model = new_decoder(kind, config, sessions, seed)
    key = decoder_key(kind, [config, fit_config], sessions, seed)
    return run_training(model, key, fit_config, sessions, seed=seed, runs=runs)


def adapt_decoder(
    pretrained: Trained[DecoderNetwork], fit_config: FitConfig, sessions: Sequence[Session], *, seed: int, runs: Path
) -> Trained[DecoderNetwork]:
    """New sessions for a pretrained decoder: all is frozen but what belongs to sessions and their neurons.

    Raises:
        CalmError: a network that knows no sessions has nothing to adapt; and as `train_decoder`.
    """
    kind, config = type(pretrained.model), pretrained.model.config
    if not kind.of_sessions:
        raise CalmError(f"{kind.__name__} has no part of its own for a session: train it on the new sessions.")
    model = new_decoder(kind, config, sessions, seed)
    key = decoder_key(kind, [config, fit_config], sessions, seed, pretrained.key)
    take_over(model, pretrained.model, kind.of_sessions)
    return run_training(model, key, fit_config, sessions, seed=seed, runs=runs)


def decoder_key(
    kind: type[DecoderNetwork], configs: Sequence[Config], sessions: Sequence[Session], seed: int, pretrained: str = ""
) -> str:
    """Key of a training: all that it depends on."""
    inputs = [pretrained, f"rate={shared_rate(sessions)}", *(session.fingerprint() for session in sessions)]
    return stage_key(kind.__name__.lower(), configs, inputs, seed, VERSION)


def run_training(
    model: DecoderNetwork, key: str, fit_config: FitConfig, sessions: Sequence[Session], *, seed: int, runs: Path
) -> Trained[DecoderNetwork]:
    """Fit a network, or find it again under its key."""

    def validate(candidate: DecoderNetwork) -> float:
        return -float(np.mean([validation_error(NetworkDecoder(candidate, each.name), each) for each in sessions]))

    def batches(epoch: int) -> Epoch:
        return decoding_batches(sessions, model.window, fit_config, seed=epoch_seed(seed, epoch))

    return Trained(model, fit(model, Task(batches, validate), fit_config, seed=seed, folder=runs / key), key)
