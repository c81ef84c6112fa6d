"""Temporal convolutional networks that forecast or decode: dilated causal convolutions, neurons as channels (App. B).

This is the plain network after Bai et al. 2018 (arXiv 1803.01271), not the ModernTCN that POCO's paper calls TCN. Two
departures from Bai et al.: one convolution a layer in place of two, as App. B counts them, and no weight normalisation.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from calm.config.rivals import TCNConfig, TCNDecoderConfig
from calm.errors import CalmError
from calm.models.interfaces import BOUND, DecoderNetwork, Network, WindowBatch


@dataclasses.dataclass
class Past:
    """The latest frames that one layer was given; zeros before the trial begins."""

    frames: Float[Tensor, "batch channel past"] | None = None

    def extend(self, newest: Float[Tensor, "batch channel frame"], reach: int) -> Float[Tensor, "batch channel seen"]:
        """The newest frames after the `reach` frames before them, the last of which are kept for the next call."""
        before = newest.new_zeros(*newest.shape[:2], reach) if self.frames is None else self.frames
        seen = torch.cat([before, newest], dim=-1)
        self.frames = seen[..., seen.shape[-1] - reach :]
        return seen


class CausalLayer(nn.Module):
    """Causal convolution, ReLU and dropout, added to the input; a linear map of it where the widths differ."""

    def __init__(self, inputs: int, config: TCNConfig | TCNDecoderConfig, dilation: int):
        super().__init__()
        self.reach = (config.kernel - 1) * dilation
        self.convolution = nn.Conv1d(inputs, config.width, config.kernel, dilation=dilation)
        self.shortcut = nn.Identity() if inputs == config.width else nn.Conv1d(inputs, config.width, 1)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "batch channel frame"], past: Past) -> Float[Tensor, "batch width frame"]:
        """One layer; `past` holds the frames before `x`."""
        return self.shortcut(x) + self.drop(F.relu(self.convolution(past.extend(x, self.reach))))


def causal_layers(channels: int, config: TCNConfig | TCNDecoderConfig) -> nn.ModuleList:
    """Layers whose dilation doubles from one to the next."""
    inputs = [channels, *[config.width] * (config.layers - 1)]
    return nn.ModuleList(CausalLayer(width, config, 2**depth) for depth, width in enumerate(inputs))


def through(
    layers: nn.ModuleList, x: Float[Tensor, "batch channel frame"], pasts: Sequence[Past] | None = None
) -> Float[Tensor, "batch width frame"]:
    """What the layers make of whole trials or, with pasts (one a layer), of the newest frames only."""
    for layer, past in zip(layers, pasts or [Past() for _ in layers], strict=True):
        x = layer(x, past)
    return x


def only_session(sessions: Mapping[str, int]) -> int:
    """Number of neurons of the session, which must be the only one."""
    if len(sessions) > 1:
        raise CalmError(f"The TCN is a single-session network: train one for each of {', '.join(sessions)}.")
    return next(iter(sessions.values()))


class TCN(Network):
    """Predicts the next frame of all neurons from the frames so far; trained on whole trials of one session.

    Raises:
        CalmError: more than one session.
    """

    def __init__(self, config: TCNConfig, context: int, neurons: Mapping[str, int]):
        super().__init__(config, context, window=None)
        channels = only_session(neurons)
        self.layers = causal_layers(channels, config)
        self.head = nn.Conv1d(config.width, channels, 1)

    def forward(
        self, traces: Float[Tensor, "batch neuron frame"], pasts: list[Past] | None = None
    ) -> Float[Tensor, "batch neuron frame"]:
        """The frame after each frame; with pasts (one a layer), `traces` holds the newest frames only."""
        return self.head(through(self.layers, traces, pasts))

    def training_loss(self, batch: WindowBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error of each frame, predicted from the true frames before it; the first has none."""
        return {"loss": F.mse_loss(self(batch.traces[..., :-1]), batch.traces[..., 1:])}

    def forecast(
        self, session: str, contexts: Float[Tensor, "batch neuron context"], horizon: int
    ) -> Float[Tensor, "batch neuron horizon"]:
        """Frame by frame, each prediction fed back; in z-scores, and kept finite where a rollout diverges."""
        newest, pasts, frames = contexts[..., -self.context :], [Past() for _ in self.layers], []
        for _ in range(horizon):
            newest = self(newest, pasts)[..., -1:].clamp(-BOUND, BOUND)
            frames.append(newest)
        return torch.cat(frames, dim=-1)


class TCNDecoder(DecoderNetwork):
    """Behaviour on a frame from the traces up to `look_ahead` frames after it; trained on whole trials of one session.

    The network is causal: to look ahead, its output for a later frame is taken for the present one.

    The paper searches over the weight decay (0, 1e-5, 1e-4); here it is fixed, in `tcn_decoder_fit`, and every network
    is searched over the learning rate (`learning_rates`) instead, so that all have the same number of tries.

    Raises:
        CalmError: more than one session.
    """

    def __init__(self, config: TCNDecoderConfig, sessions: Mapping[str, int], behaviours: int, rate: float):
        super().__init__(config, window=None)
        self.layers = causal_layers(only_session(sessions), config)
        self.head = nn.Conv1d(config.width, behaviours, 1)

    def decode(
        self, session: str, traces: Float[Tensor, "batch neuron frame"]
    ) -> Float[Tensor, "batch frame behaviour"]:
        """Behaviour on every frame, in z-scores; before and after the trial are zeros, the mean of every neuron."""
        behaviour = self.head(through(self.layers, F.pad(traces, (0, self.config.look_ahead))))
        return behaviour[..., self.config.look_ahead :].transpose(1, 2)
