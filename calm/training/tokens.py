"""Sessions as tokens: what the transformer is trained on."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Integer

from calm.config.fitting import FitConfig
from calm.data.session import Session
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import TokenBatch
from calm.storage import is_stored, load_trials, save_trials
from calm.training.batches import Batches, Stretches, TrainingTrials
from calm.trial_file import shapes_of


@dataclasses.dataclass(frozen=True, eq=False)
class TokenSession:
    """The tokens of a session.

    Attributes:
        name: of the session.
        tokens: per trial, code indices, "neuron token".
        train: indices of the training trials.
    """

    name: str
    tokens: Sequence[Integer[np.ndarray, "neuron _token"]]
    train: Int[np.ndarray, " part"]


def token_type(quantizer: NeuralQuantizer) -> str:
    """The smallest type that holds every code."""
    return "uint8" if quantizer.config.codes <= 256 else "int32"


@torch.no_grad()
def encode_trials(quantizer: NeuralQuantizer, session: Session) -> Iterator[Integer[np.ndarray, "neuron _token"]]:
    """The codes of every trial (Sec. 3.1), one trial at a time."""
    device = quantizer.codebook.vectors.device
    for trace in session.traces:
        yield quantizer.encode_codes(torch.from_numpy(trace).to(device)).cpu().numpy().astype(token_type(quantizer))


def store_tokens(quantizer: NeuralQuantizer, session: Session, folder: Path) -> TokenSession:
    """The tokens of a session, in a file in `folder`, which is written unless it is there.

    Raises:
        CalmError: the folder cannot be written, or what is there is damaged.
    """
    if not is_stored(folder):
        manifest = {"session": session.name, "train": session.trials_of("train").tolist()}
        save_trials(folder, {"tokens": encode_trials(quantizer, session)}, manifest)
    files, manifest = load_trials(folder)
    return TokenSession(manifest["session"], files["tokens"], np.array(manifest["train"]))


def token_batches(sessions: Sequence[TokenSession], config: FitConfig, *, seed: int) -> Batches:
    """Training batches, each a TokenBatch."""

    def load(stretches: Stretches) -> TokenBatch:
        session = sessions[stretches.session]
        tokens = np.stack([session.tokens[trial][stretches.neurons, part] for trial, part in stretches])
        neurons = torch.from_numpy(stretches.neurons)
        return TokenBatch(session.name, neurons, torch.from_numpy(tokens.astype(np.int64)))

    trials = []
    for session in sessions:
        shapes = shapes_of(session.tokens)
        trials.append(TrainingTrials(shapes[0][0], np.array([columns for _, columns in shapes]), session.train))
    return Batches(trials, config, load, seed=seed)
