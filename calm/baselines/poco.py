"""POCO, the population-conditioned forecaster (Duan et al. 2025, arXiv 2506.14957; App. B).

A map from the context of one neuron to its future is conditioned on what a small Perceiver (POYO, Azabou et al. 2023)
reads from all neurons of the trial; its layers are the official ones of torch_brain. Parameters bear the names of the
authors' code, so that its weights load here.

Two departures in training: the authors use AdamW with AMSGrad at 3e-4 and have every session in every step; here it is
the loop that all networks share, with one session a step.
"""

import math
from collections.abc import Mapping
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_brain.nn import FeedForward, RotaryCrossAttention, RotarySelfAttention

from calm.config.rivals import POCOConfig
from calm.errors import CalmError
from calm.models.interfaces import BlockNetwork

EMBEDDING_SD = 0.02
PERIODS = 1000  # the longest period of the rotary positions over the shortest


class RotaryTime(nn.Module):
    """How a moment turns each pair of channels; the later half of the pairs does not turn.

    The official `RotaryTimeEmbedding` has other periods: its last is the longest one.

    Args:
        width: channels of a head.
        longest: period in frames; the periods are spaced geometrically, beginning at a thousandth of it.
    """

    def __init__(self, width: int, longest: float):
        super().__init__()
        pairs = width // 2
        period = longest / PERIODS * PERIODS ** (torch.arange(0, pairs, 2) / pairs)
        self.register_buffer("inv_freq", torch.cat([2 * math.pi / period, torch.zeros(pairs - len(period))]))

    def forward(self, moments: Float[Tensor, " token"]) -> Float[Tensor, "1 token turn"]:
        """Cosines, then sines, of moments in frames since the start of the context."""
        angles = (moments[:, None] * self.inv_freq).repeat_interleave(2, dim=-1)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)[None]


def cross_attention(config: POCOConfig, *, rotate_value: bool) -> RotaryCrossAttention:
    """Attention with one head from one set of moments to another, each normalised before."""
    sizes = {"dim": config.width, "heads": 1, "dim_head": config.head_width}
    return RotaryCrossAttention(**sizes, rotate_value=rotate_value, use_xformers=False)


def self_attention(config: POCOConfig) -> RotarySelfAttention:
    """Attention with several heads among moments, normalised before."""
    sizes = {"dim": config.width, "heads": config.heads, "dim_head": config.head_width}
    return RotarySelfAttention(**sizes, rotate_value=True, use_xformers=False)


def feed_forward(config: POCOConfig) -> nn.Sequential:
    """Two linear maps with a gate between them, normalised before."""
    return nn.Sequential(nn.LayerNorm(config.width), FeedForward(config.width, dropout=config.ffn_dropout))


class Perceiver(nn.Module):
    """A few latents read the tokens and attend to each other; then queries read the latents."""

    def __init__(self, config: POCOConfig):
        super().__init__()
        self.rotary_emb = RotaryTime(config.head_width, config.longest_period)
        self.enc_atn, self.enc_ffn = cross_attention(config, rotate_value=True), feed_forward(config)
        layers = [[self_attention(config), feed_forward(config)] for _ in range(config.layers)]
        self.proc_layers = nn.ModuleList(nn.ModuleList(layer) for layer in layers)
        self.dec_atn, self.dec_ffn = cross_attention(config, rotate_value=False), feed_forward(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self,
        tokens: Float[Tensor, "batch token channel"],
        latents: Float[Tensor, "latent channel"],
        queries: Float[Tensor, "query channel"],
        moments: tuple[Float[Tensor, " token"], Float[Tensor, " latent"], Float[Tensor, " query"]],
    ) -> Float[Tensor, "batch query channel"]:
        """The queries and what they read, added; `moments` are those of tokens, latents and queries, in frames."""
        token_turn, latent_turn, query_turn = (self.rotary_emb(each) for each in moments)
        latents, queries = (each.expand(len(tokens), -1, -1) for each in (latents, queries))
        latents = latents + self.enc_atn(latents, tokens, latent_turn, token_turn)
        latents = latents + self.enc_ffn(latents)
        for attention, ffn in self.proc_layers:
            latents = latents + self.drop(attention(latents, latent_turn))
            latents = latents + self.drop(ffn(latents))
        queries = queries + self.dec_atn(queries, latents, query_turn, latent_turn)
        return queries + self.dec_ffn(queries)


class PopulationDecoder(nn.Module):
    """What each neuron's query reads from the tokens of all neurons of the trial, which form one set."""

    def __init__(self, config: POCOConfig, neurons: Mapping[str, int]):
        super().__init__()
        self.compression, self.latents = config.compression, config.latents
        self.input_proj = nn.Linear(config.compression, config.width)
        self.unit_emb = nn.Embedding(sum(neurons.values()), config.width)
        self.session_emb = nn.Embedding(len(neurons), config.width)
        self.latent_emb = nn.Embedding(config.latents, config.width)
        self.dataset_emb = nn.Embedding(1, config.width)  # all sessions count as one dataset
        for table in (self.unit_emb, self.session_emb, self.latent_emb, self.dataset_emb):
            nn.init.normal_(table.weight, std=EMBEDDING_SD)
        self.perceiver_io = Perceiver(config)

    def forward(
        self, contexts: Float[Tensor, "batch neuron context"], session: int, units: slice
    ) -> Float[Tensor, "batch neuron channel"]:
        """`session` and `units` are the rows of its embedding and of its neurons' embeddings."""
        # Slices of the tables, unlike indices into them, have a gradient that is the same in every run.
        who = self.unit_emb.weight[units] + self.session_emb.weight[session] + self.dataset_emb.weight[0]
        tokens = self.input_proj(contexts.unflatten(-1, (-1, self.compression))) + who[:, None]
        return self.perceiver_io(tokens.flatten(1, 2), self.latent_emb.weight, who, self.moments(contexts))

    def moments(self, contexts: Float[Tensor, "batch neuron context"]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens stand at their first frame, latents spread over the context, queries right after it."""
        _, neurons, context = contexts.shape
        like = {"dtype": contexts.dtype, "device": contexts.device}
        tokens = torch.arange(0, context, self.compression, **like).repeat(neurons)
        latents = torch.arange(self.latents, **like) * context / self.latents
        return tokens, latents, torch.full((neurons,), context, **like)


class POCO(BlockNetwork):
    """Forecasts a fixed number of frames of every neuron at once, for any of the sessions that it was made for.

    Raises:
        CalmError: the context is not a whole number of tokens.
    """

    session_parameters = ("decoder.unit_emb.weight", "decoder.session_emb.weight")

    def __init__(self, config: POCOConfig, context: int, neurons: Mapping[str, int]):
        if context % config.compression:
            raise CalmError(
                f"POCO cannot cut a context of {context} frames into tokens of {config.compression}: "
                "change `context` or `compression`."
            )
        super().__init__(config, context)
        ends = accumulate(neurons.values())
        self.units = {name: slice(end - neurons[name], end) for name, end in zip(neurons, ends, strict=True)}
        self.decoder = PopulationDecoder(config, neurons)
        self.in_proj = nn.Sequential(nn.Linear(context, config.hidden), nn.ReLU())
        self.conditioning_alpha = nn.Linear(config.width, config.hidden)
        self.conditioning_beta = nn.Linear(config.width, config.hidden)
        for conditioning in (self.conditioning_alpha, self.conditioning_beta):
            nn.init.zeros_(conditioning.weight)
            nn.init.zeros_(conditioning.bias)
        self.out_proj = nn.Linear(config.hidden, config.horizon)

    def forward(
        self, session: str, contexts: Float[Tensor, "batch neuron context"]
    ) -> Float[Tensor, "batch neuron horizon"]:
        """All `config.horizon` frames after the context, in z-scores, of a session that it was made for."""
        if session not in self.units:
            known = ", ".join(self.units)
            raise CalmError(f"POCO was not trained on session {session!r}, only on {known}: train it on all of them.")
        population = self.decoder(contexts, list(self.units).index(session), self.units[session])
        scale, shift = self.conditioning_alpha(population), self.conditioning_beta(population)
        return self.out_proj(self.in_proj(contexts) * scale + shift)

    block = forward

    def forecast(
        self, session: str, contexts: Float[Tensor, "batch neuron context"], horizon: int
    ) -> Float[Tensor, "batch neuron horizon"]:
        """The first `horizon` of the frames that it forecasts, in z-scores; a CalmError if it was made for fewer."""
        if horizon > self.config.horizon:
            raise CalmError(
                f"POCO forecasts {self.config.horizon} frames, not {horizon}: train it with a larger `horizon`."
            )
        return super().forecast(session, contexts, horizon)
