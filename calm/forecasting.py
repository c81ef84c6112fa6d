"""Forecasts: context tokens, rollouts to the end of the trial, traces (Sec. 3.3, Fig. 3A)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from calm.batches import group_trials
from calm.config import ForecastConfig
from calm.dat import DualAxisTransformer, TokenBatch
from calm.layers import Cache
from calm.quantizer import NeuralQuantizer
from calm.session import Session

Choice = Literal["greedy", "sample"]


def next_token(logits: Float[Tensor, "batch neuron code"], choice: Choice) -> Int[Tensor, "batch neuron"]:
    """The paper does not say how the next token is chosen; its code takes the likeliest."""
    if choice == "greedy":
        return logits.argmax(-1)
    return torch.distributions.Categorical(logits=logits).sample()


@torch.no_grad()
def roll_out(
    model: DualAxisTransformer, context: TokenBatch, *, steps: int, choice: Choice = "greedy", samples: int = 1
) -> Int[Tensor, "samples batch neuron token"]:
    """Continue every trial by `steps` tokens, `samples` times; the context is computed once and its cache shared.

    Only the time axis needs a cache: attention over neurons stays within a token.
    """
    caches = [Cache() for _ in model.layers]
    logits = model(context, caches)[-1].repeat_interleave(samples, dim=0)
    caches = [cache.repeat(samples) for cache in caches]
    rolled = [next_token(logits, choice)]
    for _ in range(steps - 1):
        newest = dataclasses.replace(context, tokens=rolled[-1][..., None])
        rolled.append(next_token(model(newest, caches)[-1], choice))
    return torch.stack(rolled, dim=-1).unflatten(0, (-1, samples)).transpose(0, 1)


def forecast(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: Session,
    trials: Int[np.ndarray, " part"],
    config: ForecastConfig,
    *,
    choice: Choice = "sample",
    samples: int = 1,
) -> list[Float[np.ndarray, "neuron _horizon"]]:
    """Mean of `samples` rollouts from the first `config.context` frames to the last whole token of each trial.

    Args:
        model: trained transformer that knows the session.
        quantizer: the quantizer whose tokens it was trained on.
        session: prepared session.
        trials: which trials.
        config: context length and how much is computed at once.
        choice: how each next token is chosen.
        samples: rollouts averaged (all the same for the greedy choice).

    Returns:
        Z-scored traces of the frames after the context, one array a trial, in the order of `trials`.
    """
    size = max(1, config.rows // (samples * len(session.neurons)))
    lengths, forecasts = session.frames // quantizer.config.window, {}
    for group in group_trials(lengths, trials, size):
        contexts = np.stack([session.traces[trial][:, : config.context] for trial in group])
        steps = int(lengths[group[0]]) - config.context // quantizer.config.window
        rollouts = forecast_rollouts(model, quantizer, session.name, contexts, steps, choice, samples)
        forecasts |= dict(zip(group.tolist(), rollouts.mean(0), strict=True))
    return [forecasts[trial] for trial in trials.tolist()]


@torch.no_grad()
def forecast_rollouts(
    model: DualAxisTransformer,
    quantizer: NeuralQuantizer,
    session: str,
    contexts: Float[np.ndarray, "batch neuron context"],
    steps: int,
    choice: Choice,
    samples: int,
) -> Float[np.ndarray, "samples batch neuron horizon"]:
    """Every rollout as a trace: context frames -> tokens -> `steps` more tokens -> frames after the context."""
    batch, neurons, frames = contexts.shape
    rows = torch.from_numpy(contexts).to(quantizer.codebook.vectors.device).flatten(0, 1)
    codes = quantizer.codebook.nearest(quantizer.encode(rows)).T
    context = TokenBatch(session, torch.arange(neurons, device=rows.device), codes.unflatten(0, (batch, neurons)))
    rolled = roll_out(model, context, steps=steps, choice=choice, samples=samples)
    whole = torch.cat([context.tokens.expand(samples, -1, -1, -1), rolled], dim=-1)
    traces = quantizer.decode_codes(whole.flatten(0, 2))[:, frames:]
    return traces.unflatten(0, (samples, batch, neurons)).cpu().numpy()
