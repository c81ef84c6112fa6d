"""Forecasts: context tokens, rollouts to the end of the trial, traces (Sec. 3.3, Fig. 3A)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from calm.baselines import Forecaster
from calm.batches import group_trials
from calm.config import ForecastConfig
from calm.dat import DualAxisTransformer, TokenBatch
from calm.errors import CalmError
from calm.layers import Cache
from calm.metrics import trial_correlation
from calm.quantizer import NeuralQuantizer
from calm.seeding import seeded
from calm.session import Session, cut_trials

Choice = Literal["greedy", "sample", "expected"]


@dataclasses.dataclass(frozen=True)
class Rolled:
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


@torch.no_grad()
def roll_out(
    model: DualAxisTransformer, context: TokenBatch, *, steps: int, choice: Choice = "greedy", samples: int = 1
) -> Rolled:
    """Continue every trial by `steps` tokens, `samples` times; the context is computed once and its cache shared.

    Only the time axis needs a cache: attention over neurons stays within a token.
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
    return Rolled(*(torch.stack(each, dim=2).unflatten(0, shape).transpose(0, 1) for each in (predicted, chosen)))


@dataclasses.dataclass(frozen=True, eq=False)
class CalMForecaster:
    """CalM as a forecaster of one session, behind the interface of the baselines.

    Attributes:
        model: trained transformer that knows the session.
        quantizer: whose tokens it was trained on.
        session: name of the session.
        config: how much is computed at once.
        choice: what is fed back after each token.
        samples: rollouts whose mean is the forecast; only the choice `sample` needs more than one.
        seed: of the sampling.
    """

    model: DualAxisTransformer
    quantizer: NeuralQuantizer
    session: str
    config: ForecastConfig
    choice: Choice = "sample"
    samples: int = 1
    seed: int = 0

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Mean of the rollouts of each trial, in z-scores; contexts are all of one length, whole tokens.

        Where samples are averaged, each step is decoded from its predicted distribution rather than from the token
        drawn from it: nearly the same mean (the decoder is not linear) with less noise.

        Raises:
            CalmError: contexts that end within a token.
        """
        neurons, averaged = len(contexts[0]), self.choice == "sample" and self.samples > 1
        at_once = min(self.samples, max(1, self.config.rows // neurons))
        parts = [min(at_once, self.samples - done) for done in range(0, self.samples, at_once)]
        forecasts: dict[int, Float[np.ndarray, "neuron _horizon"]] = {}
        with seeded(self.seed):
            size = max(1, self.config.rows // (at_once * neurons))
            for group in group_trials(np.array(horizons), np.arange(len(contexts)), size):
                batch, horizon = np.stack([contexts[trial] for trial in group]), int(horizons[group[0]])
                rollouts = (self.rollouts(batch, horizon, samples=part, expect=averaged) for part in parts)
                mean = sum(rollout.sum(0) for rollout in rollouts) / self.samples
                forecasts |= dict(zip(group.tolist(), mean, strict=True))
        return [forecasts[trial] for trial in range(len(contexts))]

    @torch.no_grad()
    def rollouts(
        self, contexts: Float[np.ndarray, "batch neuron context"], horizon: int, *, samples: int, expect: bool = False
    ) -> Float[np.ndarray, "samples batch neuron horizon"]:
        """Each rollout as a trace: context frames -> tokens -> more tokens -> the `horizon` frames after the context.

        With `expect`, steps are decoded from the predicted distributions rather than from what was chosen.

        Raises:
            CalmError: contexts that end within a token.
        """
        batch, neurons, frames = contexts.shape
        vectors, window = self.quantizer.codebook.vectors, self.quantizer.config.window
        if frames % window:
            raise CalmError(f"A context of {frames} frames ends within a token: make it a multiple of {window}.")
        rows = torch.from_numpy(contexts).to(vectors.device).flatten(0, 1)
        codes = self.quantizer.encode_codes(rows).unflatten(0, (batch, neurons))
        context = TokenBatch(self.session, torch.arange(neurons, device=rows.device), codes)
        rolled = roll_out(self.model, context, steps=-(-horizon // window), choice=self.choice, samples=samples)
        future = (rolled.predicted if expect else rolled.chosen) @ vectors
        whole = torch.cat([vectors[codes].expand(samples, -1, -1, -1, -1), future], dim=3)
        traces = self.quantizer.decode(whole.flatten(0, 2).transpose(0, 1))[:, frames : frames + horizon]
        return traces.unflatten(0, (samples, batch, neurons)).cpu().numpy()


def compared_trials(session: Session, split: str, config: ForecastConfig) -> Int[np.ndarray, " part"]:
    """The trials of a split on which forecasts are compared: those that reach the end of the horizon.

    Raises:
        CalmError: there is none.
    """
    trials, frames = session.trials_of(split), config.context + (config.horizon or 1)
    if not (session.frames[trials] >= frames).any():
        raise CalmError(
            f"Session {session.name}: no {split} trial has the {frames} frames of context and horizon: shorten one."
        )
    return trials[session.frames[trials] >= frames]


def validation_correlation(forecaster: Forecaster, session: Session, config: ForecastConfig) -> float:
    """Mean forecast correlation on validation trials of a session: what every trained method is chosen by."""
    trials = compared_trials(session, "val", config)[: config.validation_trials]
    contexts, futures = cut_trials(session, trials, config.context, config.horizon)
    forecasts = forecaster.forecast(contexts, [future.shape[1] for future in futures])
    return float(np.mean([trial_correlation(*pair) for pair in zip(futures, forecasts, strict=True)]))
