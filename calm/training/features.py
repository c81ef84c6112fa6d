"""Features of whole trials: of the frozen transformer, or the traces themselves."""

import dataclasses
import functools
import hashlib
import operator
from collections.abc import Sequence
from typing import SupportsIndex

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
from calm.training.stages import Trained

KEPT = 2**30  # bytes of features that an extractor keeps in memory
RAW_TOKENS = 3  # 12 frames, 2 s at the 6 Hz of the recordings: as long as the indicator's decay


class Extractor:
    """What turns the traces of a trial into features, one vector a token and neuron; token t knows no later frame.

    Features are kept while there is room, for all heads, shares of the labels and decoders alike. Those of a session of
    the paper's size, 957 neurons and 300 trials of 512 channels, take 7 GB: what has no room is computed again, which
    is faster than to read it from a disk.

    Attributes:
        key: names what the features depend on besides the traces.
        window: frames per token.
        channels: length of a feature vector.
    """

    key: str
    window: int
    channels: int

    @functools.cached_property
    def kept(self) -> dict[tuple[str, bytes], Float16[np.ndarray, "token neuron channel"]]:
        """Features by session and hash of the traces."""
        return {}

    def extract(
        self, session: str, trace: Float[np.ndarray, "neuron frame"]
    ) -> Float16[Tensor, "token neuron channel"]:
        """Features of one trial of the named session; frames after the last whole token have none.

        In half precision, which halves what is kept and costs less than a thousandth of each value.
        """
        raise NotImplementedError

    def features(
        self, session: str, trace: Float[np.ndarray, "neuron frame"]
    ) -> Float16[np.ndarray, "token neuron channel"]:
        """`extract`, or what it gave for the same traces before."""
        name = session, hashlib.blake2b(trace.tobytes()).digest()
        if name in self.kept:
            return self.kept[name]
        features = self.extract(session, trace).cpu().numpy()
        if features.nbytes + sum(each.nbytes for each in self.kept.values()) <= KEPT:
            self.kept[name] = features
        return features


@dataclasses.dataclass(frozen=True, eq=False)
class BackboneFeatures(Extractor):
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


@dataclasses.dataclass(frozen=True, eq=False)
class RawFeatures(Extractor):
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
    """Behaviour, true or decoded, without the frames after the last whole token of each trial.

    The heads read nothing there, so that every method is scored without them.
    """
    return [values[: whole_frames(len(values), window)] for values in behaviour]


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSession:
    """A session and the features of its trials, computed when they are asked for.

    Attributes:
        session: prepared.
        extractor: what makes the features.

    Raises:
        CalmError: a trial is shorter than a token.
    """

    session: Session
    extractor: Extractor

    def __post_init__(self) -> None:
        frames, window = self.session.frames, self.extractor.window
        if frames.min() < window:
            raise CalmError(
                f"Session {self.session.name}: trial {frames.argmin()} has {frames.min()} frames, less than the"
                f" {window} of a token: set `min_frames` in the dataset description."
            )

    @functools.cached_property
    def tokens(self) -> Int[np.ndarray, " trial"]:
        """Number of tokens of each trial."""
        return self.session.frames // self.extractor.window

    def features(self, trial: SupportsIndex) -> Float16[np.ndarray, "token neuron channel"]:
        """Of one trial."""
        return self.extractor.features(self.session.name, self.session.traces[operator.index(trial)])

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
