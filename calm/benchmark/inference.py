"""Forward passes: matrix products, rollouts with and without a cache, export of features."""

import dataclasses

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from calm.benchmark.measure import Row, repeat
from calm.benchmark.settings import CONTEXT, FRAMES, TOKENS, WINDOW, Settings
from calm.benchmark.steps import CODES, NOISE, forward_only, noise_session, random_tokens
from calm.config.models import DATConfig, QuantizerConfig
from calm.models.quantizer import NeuralQuantizer
from calm.models.rollout import roll_out
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.training.features import BackboneFeatures
from calm.training.stages import Trained

STEPS = (FRAMES - CONTEXT) // WINDOW


def matrix_product(dtype: torch.dtype, settings: Settings) -> Row:
    """The rate that others are compared with: of the fastest of several products of square matrices."""
    left, right = torch.randn(2, settings.product, settings.product, device=settings.device).to(dtype)
    row = repeat(lambda: left @ right, settings)
    return {"rows": settings.product, **row, "TFLOP/s": 1000 * row["TFLOP"] / row["fastest ms"]}


def roll_out_uncached(model: DualAxisTransformer, context: TokenBatch, steps: int) -> Int[Tensor, "batch neuron token"]:
    """The likeliest next token again and again, each time from the whole past."""
    tokens = context.tokens
    for _ in range(steps):
        newest = model(dataclasses.replace(context, tokens=tokens))[-1].argmax(-1)
        tokens = torch.cat([tokens, newest[..., None]], dim=-1)
    return tokens[..., -steps:]


def rollout(config: DATConfig, neurons: int, trials: int, cached: bool, settings: Settings) -> Row:
    """A greedy rollout of 60 frames after 40."""
    model = DualAxisTransformer(config, torch.randn(CODES, config.width), {NOISE: neurons}).to(settings.device).eval()
    context = random_tokens(neurons, trials, CONTEXT // WINDOW, settings.device)
    with forward_only(settings):
        call = roll_out if cached else roll_out_uncached
        row = repeat(lambda: call(model, context, steps=STEPS), settings)
    tokens = trials * neurons * STEPS
    return {"neurons": neurons, "tokens": STEPS, "rows": trials * neurons, **row, "tokens/s": 1000 * tokens / row["ms"]}


def export(quantizer_config: QuantizerConfig, config: DATConfig, neurons: int, settings: Settings) -> Row:
    """Features of a trial, from its traces on; frames are counted for each neuron."""
    session = noise_session(neurons)
    quantizer = NeuralQuantizer(quantizer_config).to(settings.device).eval()
    vectors = quantizer.codebook.vectors.detach().cpu()
    transformer = DualAxisTransformer(config, vectors, {NOISE: neurons}).to(settings.device).eval()
    extractor = BackboneFeatures(*(Trained(model, pd.DataFrame(), NOISE) for model in (quantizer, transformer)))
    with forward_only(settings):
        row = repeat(lambda: extractor.extract(NOISE, session.traces[0]).cpu(), settings)
    frames = neurons * FRAMES
    return {"neurons": neurons, "tokens": TOKENS, "rows": neurons, **row, "frames/s": 1000 * frames / row["ms"]}
