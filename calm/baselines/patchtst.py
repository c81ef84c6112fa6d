"""PatchTST: a transformer over patches of one neuron's frames, the same for all neurons (Nie et al., ICLR 2023).

It computes what the official supervised model does (and NeuralForecast's, which is a copy), with reversible instance
normalisation without learned scale, batch normalisation, residual attention and a flatten head (App. B).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from calm.config.rivals import PatchTSTConfig
from calm.errors import CalmError
from calm.models.interfaces import BlockNetwork, instance_scale


def cut_patches(
    contexts: Float[Tensor, "batch neuron context"], patch: int, stride: int
) -> Float[Tensor, "batch neuron token patch"]:
    """Overlapping stretches of `patch` frames; the end is padded with `stride` copies of the last frame."""
    return F.pad(contexts, (0, stride), mode="replicate").unfold(-1, patch, stride)


class ResidualAttention(nn.Module):
    """Attention among the tokens of a row whose scores, before the softmax, add to those of the layer before."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "row token channel"], previous: Float[Tensor, "row head token token"] | float
    ) -> tuple[Float[Tensor, "row token channel"], Float[Tensor, "row head token token"]]:
        """The mixed tokens, and the scores for the next layer; the first layer's `previous` is 0."""
        q, k, v = (to(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to in (self.query, self.key, self.value))
        scores = (q / q.shape[-1] ** 0.5) @ k.transpose(-2, -1) + previous
        mixed = scores.softmax(dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(-2)), scores


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation of each channel over all rows and tokens."""

    def forward(self, x: Float[Tensor, "row token channel"]) -> Float[Tensor, "row token channel"]:
        """In evaluation a row is normalised by the running statistics, whatever the others are."""
        return super().forward(x.flatten(0, 1)).view_as(x)


class PatchLayer(nn.Module):
    """Residual attention, then the feed-forward map; each added to its input, and normalised after."""

    def __init__(self, config: PatchTSTConfig):
        super().__init__()
        self.attention = ResidualAttention(config.width, config.heads)
        self.norm_attention = ChannelNorm(config.width)
        self.expand = nn.Linear(config.width, config.ffn)
        self.out = nn.Linear(config.ffn, config.width)
        self.norm_ffn = ChannelNorm(config.width)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "row token channel"], previous: Float[Tensor, "row head token token"] | float
    ) -> tuple[Float[Tensor, "row token channel"], Float[Tensor, "row head token token"]]:
        """The layer's tokens, and its attention scores."""
        mixed, scores = self.attention(x, previous)
        x = self.norm_attention(x + self.drop(self.drop(mixed)))  # twice, as in the official model
        hidden = self.drop(F.gelu(self.expand(x)))
        return self.norm_ffn(x + self.drop(self.out(hidden))), scores


class PatchTST(BlockNetwork):
    """Patches of a normalised context as tokens, an encoder, and one linear map from all tokens to the horizon.

    Every neuron is forecast alike and by itself, so the numbers of neurons of the sessions are not needed.

    Raises:
        CalmError: the context is shorter than a patch.
    """

    def __init__(self, config: PatchTSTConfig, context: int, neurons: Mapping[str, int]):
        super().__init__(config, context)
        if context < config.patch:
            raise CalmError(f"PatchTST's patches need {config.patch} frames: the context has {context}, lengthen it.")
        patches = (context - config.patch) // config.stride + 2  # the padding adds one
        self.embed = nn.Linear(config.patch, config.width)
        self.positions = nn.Parameter(torch.empty(patches, config.width).uniform_(-0.02, 0.02))
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(PatchLayer(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width * patches, config.horizon)

    def encode(self, normalised: Float[Tensor, "batch neuron context"]) -> Float[Tensor, "row token channel"]:
        """Tokens of every neuron after the last layer; rows are (trial, neuron) pairs."""
        patches = cut_patches(normalised, self.config.patch, self.config.stride).flatten(0, 1)
        x, scores = self.drop(self.embed(patches) + self.positions), 0.0
        for layer in self.layers:
            x, scores = layer(x, scores)
        return x

    def forward(self, contexts: Float[Tensor, "batch neuron context"]) -> Float[Tensor, "batch neuron horizon"]:
        """The `config.horizon` frames after the context."""
        mean, sd = instance_scale(contexts)
        tokens = self.encode((contexts - mean) / sd)
        forecast = self.head(tokens.transpose(1, 2).flatten(1))  # channel by channel, as in the official model
        return forecast.view(*contexts.shape[:2], -1) * sd + mean
