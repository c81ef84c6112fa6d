"""A slow POCO, written from the architecture's description: one trial, one head, one query and one key at a time."""

import cmath
import math

import torch

from calm.config.rivals import POCOConfig

CONTEXT, HORIZON = 8, 5
SMALL = POCOConfig(
    width=12, latents=3, layers=2, heads=3, head_width=8, hidden=10, compression=4, horizon=HORIZON, longest_period=30
)


class Weights:
    """Layers applied by name to one vector."""

    def __init__(self, model):
        self.tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}

    def row(self, name, index):
        return self.tensors[f"decoder.{name}.weight"][index]

    def linear(self, name, x):
        product = self.tensors[f"{name}.weight"] @ x
        return product + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else product

    def norm(self, name, x):
        centred = x - x.mean()
        scaled = centred / (centred.square().mean() + 1e-5).sqrt()
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def feed_forward(self, name, x):
        hidden = self.linear(f"{name}.1.net.0", self.norm(f"{name}.0", x))
        values, gates = hidden[: len(hidden) // 2], hidden[len(hidden) // 2 :]
        gelu = 0.5 * gates * (1 + torch.erf(gates / math.sqrt(2)))
        return self.linear(f"{name}.1.net.3", values * gelu)


def frequencies():
    """Radians per frame of each pair of channels: a quarter of the channels' number turns, the rest stands."""
    shortest, pairs = SMALL.longest_period / 1000, SMALL.head_width // 2
    turning = [2 * math.pi / (shortest * 1000 ** (2 * pair / pairs)) for pair in range(pairs // 2)]
    return turning + [0.0] * (pairs - len(turning))


def turned(x, frame):
    """A vector as complex pairs, turned to its moment."""
    pairs = zip(x[0::2].tolist(), x[1::2].tolist(), frequencies(), strict=True)
    return [complex(first, second) * cmath.exp(1j * frame * frequency) for first, second, frequency in pairs]


def read_one(query, query_frame, keys, values, key_frames, relative):
    """What one query reads in one head; with `relative`, values are turned by the time from query to key."""
    at_query = turned(query, query_frame)
    scores = []
    for key, frame in zip(keys, key_frames, strict=True):
        products = [first * second.conjugate() for first, second in zip(at_query, turned(key, frame), strict=True)]
        scores.append(sum(products).real / math.sqrt(len(query)))
    weights = [math.exp(score) / sum(math.exp(other) for other in scores) for score in scores]
    total = [0j] * len(at_query)
    for weight, value, frame in zip(weights, values, key_frames, strict=True):
        pairs = turned(value, frame - query_frame if relative else 0)
        total = [before + weight * pair for before, pair in zip(total, pairs, strict=True)]
    return torch.tensor([part for pair in total for part in (pair.real, pair.imag)], dtype=torch.float64)


def cross_attention(weights, name, x, frames, others, other_frames, relative):
    """Each of `x` reads from the others, in one head."""
    both = [weights.linear(f"{name}.to_kv", weights.norm(f"{name}.norm_context", other)) for other in others]
    keys, values = [each[: SMALL.head_width] for each in both], [each[SMALL.head_width :] for each in both]
    queries = [weights.linear(f"{name}.to_q", weights.norm(f"{name}.norm", each)) for each in x]
    read = [
        read_one(query, frame, keys, values, other_frames, relative)
        for query, frame in zip(queries, frames, strict=True)
    ]
    return [weights.linear(f"{name}.to_out", each) for each in read]


def self_attention(weights, name, x, frames):
    """Each reads from all, in several heads."""
    inner = SMALL.heads * SMALL.head_width
    projected = [weights.linear(f"{name}.to_qkv", weights.norm(f"{name}.norm", each)) for each in x]
    read = [[] for _ in x]
    for head in range(SMALL.heads):
        start = head * SMALL.head_width
        q, k, v = (
            [each[part * inner + start : part * inner + start + SMALL.head_width] for each in projected]
            for part in range(3)
        )
        for index, frame in enumerate(frames):
            read[index].append(read_one(q[index], frame, k, v, frames, relative=True))
    return [weights.linear(f"{name}.to_out", torch.cat(each)) for each in read]


def add(first, second):
    return [one + other for one, other in zip(first, second, strict=True)]


def summarise(weights, context, session, first_unit):
    """What each neuron of a trial is told of the population."""
    name = "decoder.perceiver_io"
    who = [
        weights.row("unit_emb", first_unit + neuron)
        + weights.row("session_emb", session)
        + weights.row("dataset_emb", 0)
        for neuron in range(len(context))
    ]
    tokens, token_frames = [], []
    for neuron, trace in enumerate(context):
        for start in range(0, CONTEXT, SMALL.compression):
            tokens.append(weights.linear("decoder.input_proj", trace[start : start + SMALL.compression]) + who[neuron])
            token_frames.append(start)
    latents = [weights.row("latent_emb", latent) for latent in range(SMALL.latents)]
    frames = [latent * CONTEXT / SMALL.latents for latent in range(SMALL.latents)]
    latents = add(latents, cross_attention(weights, f"{name}.enc_atn", latents, frames, tokens, token_frames, True))
    latents = add(latents, [weights.feed_forward(f"{name}.enc_ffn", latent) for latent in latents])
    for layer in range(SMALL.layers):
        latents = add(latents, self_attention(weights, f"{name}.proc_layers.{layer}.0", latents, frames))
        latents = add(latents, [weights.feed_forward(f"{name}.proc_layers.{layer}.1", latent) for latent in latents])
    ends = [CONTEXT] * len(who)
    queries = add(who, cross_attention(weights, f"{name}.dec_atn", who, ends, latents, frames, False))
    return add(queries, [weights.feed_forward(f"{name}.dec_ffn", query) for query in queries])


def slow_forecast(weights, context, session, first_unit):
    """All frames after the context of each neuron of a trial."""
    forecasts = []
    for trace, summary in zip(context, summarise(weights, context, session, first_unit), strict=True):
        hidden = weights.linear("in_proj.0", trace).clamp(min=0)
        hidden = hidden * weights.linear("conditioning_alpha", summary) + weights.linear("conditioning_beta", summary)
        forecasts.append(weights.linear("out_proj", hidden))
    return torch.stack(forecasts)
