"""Whole training steps of any model, on noise: their time, and how much of it is waiting for data."""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from calm.benchmark.measure import Row, repeat
from calm.benchmark.settings import FRAMES, WINDOW, Settings
from calm.config.fitting import FitConfig
from calm.config.models import DATConfig, QuantizerConfig
from calm.data.preparation import prepare
from calm.data.session import Session
from calm.models.interfaces import Trainable
from calm.models.quantizer import NeuralQuantizer
from calm.models.transformer import DualAxisTransformer, TokenBatch
from calm.training.batches import Batches, trace_batches
from calm.training.fit import Objective, Run
from calm.training.tokens import TokenSession, token_batches

NOISE = "noise"  # name of the session that is trained on
TRIALS = 60  # of it
CODES = 128
LATENTS = 32  # rows that the codebook starts from


def noise_session(neurons: int, frames: int = FRAMES) -> Session:
    """A prepared session whose traces and two behaviours are noise, which takes as long as any other."""
    rng = np.random.default_rng(0)
    session = Session(
        name=NOISE,
        subject="nobody",
        rate=5.0,  # frames/s, as the paper's simulation
        traces=tuple(rng.standard_normal((TRIALS, neurons, frames), dtype=np.float32)),
        behaviour=tuple(rng.standard_normal((TRIALS, frames, 2))),
        behaviour_names=("first", "second"),
        trials=pd.DataFrame({"trial": range(TRIALS)}),
        neurons=pd.DataFrame({"neuron": range(neurons)}),
    )
    return prepare(session, seed=0)


def random_tokens(neurons: int, trials: int, tokens: int, device: str) -> TokenBatch:
    """Trials of random codes of all neurons."""
    codes = torch.randint(CODES, (trials, neurons, tokens), device=device)
    return TokenBatch(NOISE, torch.arange(neurons, device=device), codes)


@contextlib.contextmanager
def forward_only(settings: Settings) -> Iterator[None]:
    """No gradients, and on a GPU bf16 products: how forward passes are timed."""
    with torch.no_grad(), torch.autocast(settings.device, torch.bfloat16, enabled=settings.device == "cuda"):
        yield


def time_training(model: Trainable, batch: Callable[[int], Any], config: FitConfig, settings: Settings) -> Row:
    """Time of whole training steps, and how much of it is waiting for the batch, `waiting %`."""
    objective = Objective(batch, validate=lambda _: math.nan)  # never asked
    fit = config.changed(precision=settings.precision, session_groups=1)
    run = Run(model, [objective], fit, seed=0, folder=Path("benchmark"))
    run.model.train()
    batches, waited = run.batches(itertools.count()), []

    def step() -> None:
        began = time.perf_counter()
        loaded = next(batches)
        waited.append(time.perf_counter() - began)
        run.step(loaded)

    row = repeat(step, settings)
    return {**row, "waiting %": 100_000 * statistics.median(waited) / row["ms"]}


def quantizer_step(config: QuantizerConfig, fit: FitConfig, neurons: int, tokens: int, settings: Settings) -> Row:
    """A training step with everything on: the codebook has started."""
    session, model = noise_session(neurons, tokens * WINDOW), NeuralQuantizer(config)
    batches = trace_batches([session], fit, config.window, seed=0)
    first = batches(0)
    with torch.no_grad():
        model.training_loss(first[:LATENTS])
    model.codebook.update()
    model.codebook.start(seed=0)
    row = time_training(model, batches, fit, settings)
    seen = first.numel() // WINDOW
    return {"neurons": neurons, "tokens": tokens, "rows": len(first), **row, "tokens/s": 1000 * seen / row["ms"]}


def transformer_step(
    config: DATConfig, fit: FitConfig, corpus: Sequence[int], trials: int, tokens: int, settings: Settings
) -> Row:
    """A training step on all neurons of the first session of a corpus, which is the number of neurons of each."""
    neurons, fit = corpus[0], fit.changed(rows=trials * corpus[0], neurons=corpus[0])
    sizes = {NOISE: neurons} | {f"session {number}": count for number, count in enumerate(corpus[1:])}
    model = DualAxisTransformer(config, torch.randn(CODES, config.width), sizes)
    row = time_training(model, noise_tokens(neurons, tokens, CODES, fit), fit, settings)
    batch = random_tokens(neurons, trials, tokens, settings.device)
    with forward_only(settings):
        forward = repeat(lambda: model(batch), settings)  # still in training mode
    return {
        **{"neurons": neurons, "tokens": tokens, "rows": trials * neurons},
        **row,
        "tokens/s": 1000 * batch.tokens.numel() / row["ms"],
        "forward passes": row["ms"] / forward["ms"],
    }


def noise_tokens(neurons: int, tokens: int, codes: int, fit: FitConfig) -> Batches:
    """Batches of random codes of a session of so many neurons."""
    rows = np.random.default_rng(0).integers(codes, size=(TRIALS, neurons, tokens), dtype=np.uint8)
    return token_batches([TokenSession(NOISE, list(rows), np.arange(TRIALS))], fit, seed=0)
