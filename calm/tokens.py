"""Sessions as tokens: what the transformer is trained on."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from calm.batches import Epoch, Part, Planned, plan_epoch
from calm.config import FitConfig
from calm.dat import TokenBatch
from calm.quantizer import NeuralQuantizer
from calm.session import Session


@dataclasses.dataclass(frozen=True, eq=False)
class TokenSession:
    """The tokens of a session.

    Attributes:
        name: of the session.
        tokens: per trial, code indices, "neuron token".
        train: indices of the training trials.
    """

    name: str
    tokens: tuple[Int[np.ndarray, "neuron _token"], ...]
    train: Int[np.ndarray, " part"]


@torch.no_grad()
def tokenize(quantizer: NeuralQuantizer, session: Session) -> TokenSession:
    """The codes of every trial (spec 2)."""
    device = quantizer.codebook.vectors.device
    tokens = (quantizer.encode_codes(torch.from_numpy(trace).to(device)).cpu().numpy() for trace in session.traces)
    return TokenSession(name=session.name, tokens=tuple(tokens), train=session.trials_of("train"))


def token_batches(sessions: Sequence[TokenSession], config: FitConfig, *, seed: int) -> Epoch:
    """Training batches of one epoch, each a TokenBatch."""
    parts = [
        Part(len(session.tokens[0]), np.array([trial.shape[1] for trial in session.tokens]), session.train)
        for session in sessions
    ]

    def load(planned: Planned) -> TokenBatch:
        session = sessions[planned.session]
        tokens = np.stack([session.tokens[trial][planned.neurons] for trial in planned.trials])
        return TokenBatch(session.name, torch.from_numpy(planned.neurons), torch.from_numpy(tokens))

    return Epoch(plan_epoch(parts, config, np.random.default_rng(seed)), load)
