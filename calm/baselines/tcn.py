"""Temporal convolutional network: dilated causal convolutions over time, all neurons as channels (App. B).

This is the plain network after Bai et al. 2018 (arXiv 1803.01271), not the ModernTCN that POCO's paper calls TCN. Two
departures from Bai et al.: one convolution a layer in place of two, as App. B counts them, and no weight normalisation.
"""

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from calm.config import TCNConfig, TCNDecoderConfig
from calm.errors import CalmError
from calm.models.interfaces import BOUND, Network, WindowBatch


@dataclasses.dataclass
class Past:
    """The latest frames that one layer was given; zeros before the trial begins."""

    frames: Float[Tensor, "batch channel past"] | None = None

    def extend(self, newest: Float[Tensor, "batch channel frame"], reach: int) -> Float[Tensor, "batch channel seen"]:
        """The newest frames behind the `reach` frames before them, the last of which are kept for the next call."""
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


class TCN(Network):
    """Predicts the next frame of all neurons from the frames so far; trained on whole trials of one session.

    Args:
        config: sizes and dropout.
        context: frames that a forecast is given.
        neurons: number of neurons of the session.

    Raises:
        CalmError: more than one session.
    """

    def __init__(self, config: TCNConfig, context: int, neurons: Mapping[str, int]):
        if len(neurons) > 1:
            raise CalmError(f"TCN is a single-session network: train one for each of {', '.join(neurons)}.")
        super().__init__(config, context, window=None)
        (channels,) = neurons.values()
        widths = [channels, *[config.width] * (config.layers - 1)]
        self.layers = nn.ModuleList(CausalLayer(width, config, 2**depth) for depth, width in enumerate(widths))
        self.head = nn.Conv1d(config.width, channels, 1)

    @property
    def receptive_field(self) -> int:
        """Number of frames, the last one included, that a prediction depends on."""
        return 1 + sum(layer.reach for layer in self.layers)

    def forward(
        self, traces: Float[Tensor, "batch neuron frame"], pasts: list[Past] | None = None
    ) -> Float[Tensor, "batch neuron frame"]:
        """The frame after each frame; with pasts (one a layer), `traces` holds the newest frames only."""
        x = traces
        for layer, past in zip(self.layers, pasts or [Past() for _ in self.layers], strict=True):
            x = layer(x, past)
        return self.head(x)

    def training_loss(self, batch: WindowBatch) -> dict[str, Float[Tensor, ""]]:
        """Mean squared error of each frame, predicted from the true frames before it; the first has none."""
        return {"loss": F.mse_loss(self(batch.traces[..., :-1]), batch.traces[..., 1:])}

    def forecast(
        self, session: str, contexts: Float[Tensor, "batch neuron context"], horizon: int
    ) -> Float[Tensor, "batch neuron horizon"]:
        """Frame by frame, each prediction fed back; in z-scores, and kept finite where a rollout diverges.

        `session` is the one that it was made for.
        """
        newest, pasts, frames = contexts[..., -self.context :], [Past() for _ in self.layers], []
        for _ in range(horizon):
            newest = self(newest, pasts)[..., -1:].clamp(-BOUND, BOUND)
            frames.append(newest)
        return torch.cat(frames, dim=-1)
