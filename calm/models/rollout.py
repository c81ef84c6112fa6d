"""Rollouts: the transformer continues the tokens of every neuron (Sec. 3.3, Fig. 3A)."""

import dataclasses
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from calm.errors import CalmError
from calm.models.interfaces import TraceBatch
from calm.models.layers import Cache
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer, TokenBatch

Choice = Literal["greedy", "sample", "expected"]


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Rollouts as weights over codes.

    Attributes:
        predicted: the distribution of each next token.
        chosen: what was fed back: a single code (one-hot), or the distribution itself.
    """

    predicted: Float[Tensor, "samples batch neuron token code"]
    chosen: Float[Tensor, "samples batch neuron token code"]


def choose(predicted: Float[Tensor, "batch neuron code"], choice: Choice) -> Float[Tensor, "batch neuron code"]:
    """What is fed back after a prediction; the paper does not say, its code takes the likeliest token (greedy).

    `sample` draws one. `expected` feeds back all codes at once, weighted: a single pass that follows the mean, at the
    cost of the greedy choice.
    """
    if choice == "expected":
        return predicted
    picked = predicted.argmax(-1) if choice == "greedy" else torch.distributions.Categorical(predicted).sample()
    return F.one_hot(picked, predicted.shape[-1]).to(predicted.dtype)


def roll_out(
    model: DualAxisTransformer, context: TokenBatch, *, steps: int, choice: Choice = "greedy", samples: int = 1
) -> Rollouts:
    """Continue every trial by `steps` tokens, `samples` times; the context is computed once and its cache shared.

    Only the time axis needs a cache: attention over neurons stays within a token. The gradient passes through the
    caches and, with the choice `expected`, through what is fed back.
    """
    caches = [Cache() for _ in model.layers]
    logits = model(context, caches)[-1].repeat_interleave(samples, dim=0)
    caches = [cache.repeat(samples) for cache in caches]
    predicted = [logits.softmax(-1)]
    chosen = [choose(predicted[-1], choice)]
    for _ in range(steps - 1):
        newest = dataclasses.replace(context, tokens=chosen[-1].unsqueeze(2))
        predicted.append(model(newest, caches)[-1].softmax(-1))
        chosen.append(choose(predicted[-1], choice))
    shape = (len(context.tokens), samples)
    return Rollouts(*(torch.stack(each, dim=2).unflatten(0, shape).transpose(0, 1) for each in (predicted, chosen)))


def forecast_traces(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    context: TraceBatch,
    horizon: int,
    *,
    choice: Choice = "expected",
    samples: int = 1,
    expect: bool = False,
) -> Float[Tensor, "samples batch neuron horizon"]:
    """Context frames -> tokens -> more tokens -> the `horizon` frames after the context, in z-scores (Fig. 3A).

    With `expect`, steps are decoded from the predicted distributions rather than from what was chosen.

    Raises:
        CalmError: a context that ends within a token.
    """
    batch, neurons, frames = context.traces.shape
    vectors, window = quantizer.codebook.vectors, quantizer.config.window
    if frames % window:
        raise CalmError(f"A context of {frames} frames ends within a token: make it a multiple of {window}.")
    codes = quantizer.encode_codes(context.traces.flatten(0, 1)).unflatten(0, (batch, neurons))
    tokens = TokenBatch(context.session, context.neurons, codes)
    rolled = roll_out(model, tokens, steps=-(-horizon // window), choice=choice, samples=samples)
    future = (rolled.predicted if expect else rolled.chosen) @ vectors
    # All samples follow the same context, which the decoder, being causal, reads once.
    caches = [Cache() for _ in quantizer.decoder]
    quantizer.decode(vectors[codes].flatten(0, 1).transpose(0, 1), caches)
    caches = [cache.repeat(samples) for cache in caches]
    traces = quantizer.decode(future.permute(3, 1, 2, 0, 4).flatten(1, 3), caches)[:, :horizon]
    return traces.unflatten(0, (batch, neurons, samples)).movedim(2, 0)
