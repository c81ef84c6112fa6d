"""Rotary positions, attention along one axis, and the transformer block: all that the models share.

Activations are laid out "token ... channel": attention over tokens and attention over neurons then both fold as views
of the same memory, with no copies of queries, keys and values.
"""

import dataclasses
import functools

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

ROTARY_BASE = 10_000.0


@dataclasses.dataclass
class Cache:
    """Keys and values of the tokens seen so far by one attention layer; empty at first."""

    keys: Float[Tensor, "token *batch channel"] | None = None
    values: Float[Tensor, "token *batch channel"] | None = None

    @property
    def length(self) -> int:
        """Tokens held."""
        return 0 if self.keys is None else len(self.keys)

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append the newest tokens and return everything held."""
        if self.keys is None:
            self.keys, self.values = keys, values
        else:
            self.keys, self.values = torch.cat([self.keys, keys]), torch.cat([self.values, values])
        return self.keys, self.values

    def repeat(self, times: int) -> "Cache":
        """A copy whose batch axis (the one after `token`) holds every element `times` times in a row."""
        return Cache(self.keys.repeat_interleave(times, dim=1), self.values.repeat_interleave(times, dim=1))


@functools.lru_cache(maxsize=64)
def rotary_angles(
    start: int, tokens: int, half: int, device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "token half"], Float[Tensor, "token half"]]:
    """Cosine and sine of the angle of each position and pair of channels, kept: every layer and step asks for them."""
    speed = ROTARY_BASE ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angle = torch.arange(start, start + tokens, device=device, dtype=torch.float32)[:, None] * speed
    return angle.cos().to(dtype), angle.sin().to(dtype)  # in this order: an angle rounded to bf16 is far off


@functools.lru_cache(maxsize=64)
def seen_by(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "query key"]:
    """Which keys each of the newest tokens may look at: its own and earlier ones."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def rotate(x: Float[Tensor, "token *batch head width"], start: int) -> Float[Tensor, "token *batch head width"]:
    """Rotary position embedding (RoPE) over the leading token axis, whose first token has position `start`."""
    half = x.shape[-1] // 2
    shape = len(x), *[1] * (x.ndim - 2), half
    cos, sin = (each.view(shape) for each in rotary_angles(start, len(x), half, x.device, x.dtype))
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def attend(
    q: Float[Tensor, "*batch head query width"],
    k: Float[Tensor, "*batch head key width"],
    v: Float[Tensor, "*batch head key width"],
    mask: Bool[Tensor, "query key"] | None = None,
) -> Float[Tensor, "*batch head query width"]:
    """Softmax attention. The fused kernels, which never hold all scores, take one axis for the batch and no more."""
    joined = (each.flatten(0, -4) for each in (q, k, v))
    return F.scaled_dot_product_attention(*joined, attn_mask=mask).unflatten(0, q.shape[:-3])


class Projections(nn.Module):
    """Query, key, value and output maps. Three separate maps keep heads and batch foldable without a copy."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def split(self, x: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape head width"]:
        """Channels as heads."""
        return x.unflatten(-1, (self.heads, -1))


class TimeAttention(Projections):
    """Causal attention with RoPE over the leading token axis, separately for all later axes."""

    def forward(
        self, x: Float[Tensor, "token *batch channel"], cache: Cache | None = None
    ) -> Float[Tensor, "token *batch channel"]:
        """With a cache, `x` holds the newest tokens only and the older ones are read from it."""
        start = cache.length if cache is not None else 0
        q = rotate(self.split(self.query(x)), start)
        k = rotate(self.split(self.key(x)), start)
        k, v = k.flatten(-2), self.value(x)
        if cache is not None:
            k, v = cache.extend(k, v)
        k, v = self.split(k), self.split(v)
        mask = seen_by(len(q), len(k), x.device)
        mixed = attend(q.movedim(0, -2), k.movedim(0, -2), v.movedim(0, -2), mask)
        return self.out(mixed.movedim(-2, 0).flatten(-2))


class NeuronAttention(Projections):
    """Attention of every neuron to all neurons of the same token; no order, no mask."""

    def forward(self, x: Float[Tensor, "*batch neuron channel"]) -> Float[Tensor, "*batch neuron channel"]:
        """Permuting the neurons of the input permutes the output."""
        q, k, v = (self.split(to(x)).transpose(-3, -2) for to in (self.query, self.key, self.value))
        return self.out(attend(q, k, v).transpose(-3, -2).flatten(-2))


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape channel"]:
        """Acts on each position by itself."""
        return self.out(F.gelu(self.expand(x)))


class CausalBlock(nn.Module):
    """Pre-norm transformer block over time: the building block of the quantizer."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_time = nn.LayerNorm(width, bias=False)
        self.time = TimeAttention(width, heads)
        self.norm_ffn = nn.LayerNorm(width, bias=False)
        self.ffn = FeedForward(width, 4 * width)

    def forward(
        self, x: Float[Tensor, "token *batch channel"], cache: Cache | None = None
    ) -> Float[Tensor, "token *batch channel"]:
        """Attention over time, with a cache or without, then the feed-forward map, each added to its input."""
        x = x + self.time(self.norm_time(x), cache)
        return x + self.ffn(self.norm_ffn(x))


def init_weights(model: nn.Module, sublayers: int) -> None:
    """Initialise linear maps with sd 1/sqrt(inputs), times 1/sqrt(sublayers) if one ends a residual branch (`out`).

    Args:
        model: the whole model.
        sublayers: number of residual branches that add up along the depth.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            sd = module.in_features**-0.5
            if name.rsplit(".", 1)[-1] == "out":
                sd *= sublayers**-0.5
            nn.init.normal_(module.weight, std=sd)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
