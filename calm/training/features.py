"""Features of whole trials, computed once and kept on the disk: of the frozen transformer, or the traces themselves."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16, Int
from torch import Tensor

from calm.data.session import Session
from calm.errors import CalmError
from calm.models.heads import FeatureBatch
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.storage import TrialFile, is_stored, load_trials, save_trials, stage_key
from calm.training.stages import Trained

VERSION = 1  # of this stage; raised with any change to what it computes
RAW_TOKENS = 3  # 12 frames, 2 s at the 6 Hz of the recordings: as long as the indicator's decay


@runtime_checkable
class Extractor(Protocol):
    """What turns the traces of a trial into features, one vector a token and neuron; token t knows no later frame.

    Attributes:
        key: names what the features depend on besides the traces.
        window: frames per token.
        channels: length of a feature vector.
    """

    key: str
    window: int
    channels: int

    def extract(
        self, session: str, trace: Float[np.ndarray, "neuron frame"]
    ) -> Float16[Tensor, "token neuron channel"]:
        """Features of one trial of the named session; frames behind the last whole token have none.

        In half precision, which halves the file and costs less than a thousandth of each value.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class BackboneFeatures:
    """Features of the frozen transformer after its last norm (Sec. 3.4).

    Attributes:
        quantizer: whose tokens the transformer reads.
        transformer: that knows the sessions.
    """

    quantizer: Trained[NeuralQuantizer]
    transformer: Trained[DualAxisTransformer]

    @property
    def key(self) -> str:
        """That of the transformer, which depends on the quantizer's."""
        return self.transformer.key

    @property
    def window(self) -> int:
        """Frames per token."""
        return self.quantizer.model.config.window

    @property
    def channels(self) -> int:
        """Width of the transformer."""
        return self.transformer.model.config.width

    @torch.no_grad()
    def extract(
        self, session: str, trace: Float[np.ndarray, "neuron frame"]
    ) -> Float16[Tensor, "token neuron channel"]:
        """Traces -> codes -> activations."""
        device = self.quantizer.model.codebook.vectors.device
        codes = self.quantizer.model.encode_codes(torch.from_numpy(trace).to(device))
        batch = TokenBatch(session, torch.arange(len(trace), device=device), codes[None])
        return self.transformer.model.features(batch)[:, 0].half()


@dataclasses.dataclass(frozen=True)
class RawFeatures:
    """The control: the frames of a token and of the tokens before it, as they are, and a constant; no transformer.

    Before the trial there are zeros. The constant, 1, is for the gated head, which has no bias before its product and
    would otherwise be unable to be linear in the traces; the transformer's features hold constants of their own, the
    neuron embeddings.

    Attributes:
        window: frames per token.
        tokens: how many tokens' frames, the present one included.
    """

    window: int
    tokens: int = RAW_TOKENS

    @property
    def key(self) -> str:
        """What the features depend on."""
        return f"raw-{self.window}-{self.tokens}"

    @property
    def channels(self) -> int:
        """Number of frames, and one."""
        return self.tokens * self.window + 1

    def extract(
        self, session: str, trace: Float[np.ndarray, "neuron frame"]
    ) -> Float16[Tensor, "token neuron channel"]:
        """Overlapping stretches that end where the tokens end; all sessions are treated alike."""
        whole, length = whole_frames(trace.shape[1], self.window), self.tokens * self.window
        past = F.pad(torch.from_numpy(trace[:, :whole]), (length - self.window, 0))
        return F.pad(past.unfold(1, length, self.window).transpose(0, 1), (0, 1), value=1.0).half()


def whole_frames(frames: int, window: int) -> int:
    """Number of frames of a trial that belong to whole tokens."""
    return frames // window * window


def on_whole_tokens(
    behaviour: Sequence[Float[np.ndarray, "_frame behaviour"]], window: int
) -> list[Float[np.ndarray, "_whole behaviour"]]:
    """Behaviour, true or decoded, without the frames behind the last whole token of each trial.

    The heads read nothing there, so that every method is scored without them.
    """
    return [values[: whole_frames(len(values), window)] for values in behaviour]


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSession:
    """A session and its features.

    Attributes:
        session: prepared.
        extractor: what made the features.
        trials: the features of each trial, rows are tokens, columns neurons and their channels.
    """

    session: Session
    extractor: Extractor
    trials: TrialFile

    @functools.cached_property
    def tokens(self) -> Int[np.ndarray, " trial"]:
        """Number of tokens of each trial."""
        return np.array([rows for rows, _ in self.trials.shapes])

    def features(self, trial: SupportsIndex) -> Float16[np.ndarray, "token neuron channel"]:
        """Of one trial, read when it is asked for."""
        return self.trials[trial].reshape(-1, len(self.session.neurons), self.extractor.channels)

    def batch(self, stretches: Sequence[tuple[int, slice]]) -> FeatureBatch:
        """Features and behaviour of stretches of equally many tokens, each a trial and which of its tokens."""
        features = np.stack([self.features(trial)[tokens] for trial, tokens in stretches], axis=1)
        window = self.extractor.window
        frames = [slice(tokens.start * window, tokens.stop * window) for _, tokens in stretches]
        pairs = zip(stretches, frames, strict=True)
        behaviour = np.stack([self.session.behaviour[trial][part] for (trial, _), part in pairs])
        return FeatureBatch(self.session.name, torch.from_numpy(features), torch.from_numpy(behaviour))

    def whole(self, trials: Int[np.ndarray, " batch"]) -> FeatureBatch:
        """Features and behaviour of whole trials of equally many tokens."""
        return self.batch([(trial, slice(0, int(self.tokens[trial]))) for trial in trials.tolist()])


def store_features(extractor: Extractor, session: Session, runs: Path) -> FeatureSession:
    """The features of a session, in a file under `runs`, which is written unless it is there.

    What is kept depends on the traces alone: other labels or another split of the same trials find it again. A session
    of the paper's size, 957 neurons and 300 trials, takes 7 GB at 512 channels.

    Raises:
        CalmError: a trial is shorter than a token, the folder cannot be written, or what is there is damaged.
    """
    if session.frames.min() < extractor.window:
        raise CalmError(
            f"Session {session.name}: trial {session.frames.argmin()} has {session.frames.min()} frames, less than the"
            f" {extractor.window} of a token: set `min_frames` in the dataset description."
        )
    folder = runs / "features" / stage_key(session.name, [], [extractor.key, trace_hash(session)], 0, VERSION)
    if not is_stored(folder):
        manifest = {"session": session.name, "extractor": extractor.key}
        save_trials(folder, {"features": extract_trials(extractor, session)}, manifest)
    return FeatureSession(session, extractor, load_trials(folder)[0]["features"])


def extract_trials(extractor: Extractor, session: Session) -> Iterator[Float16[np.ndarray, "token column"]]:
    """The features of every trial, one trial at a time."""
    for trace in session.traces:
        yield extractor.extract(session.name, trace).flatten(1).cpu().numpy()


def trace_hash(session: Session) -> str:
    """SHA-256 over the traces: besides the name, all of a session that its features depend on."""
    digest = hashlib.sha256()
    for trace in session.traces:
        digest.update(str(trace.shape).encode() + np.ascontiguousarray(trace).tobytes())
    return digest.hexdigest()
