"""A noise-free linear system that every network has to learn, its windows, and the score of a forecast of it."""

import numpy as np
import pandas as pd
import torch

from calm.data.session import Session, cut_trials, prepare
from calm.metrics import trial_correlation
from calm.models.interfaces import WindowBatch
from calm.training.fit import Objective

SPEEDS = np.array([0.35, 0.55, 0.8])  # radians per frame


def noise_free_session(neurons=8, trials=80, frames=40, seed=0):
    """Each neuron is a fixed mixture of three undamped rotations, which start anywhere in every trial; prepared."""
    rng = np.random.default_rng(seed)
    mixture = rng.normal(size=(neurons, 3)) + 1j * rng.normal(size=(neurons, 3))
    phases = rng.uniform(0, 2 * np.pi, (trials, 3, 1))
    turning = np.exp(1j * (phases + SPEEDS[:, None] * np.arange(frames)))
    session = Session(
        name="rotations",
        subject="none",
        rate=5.0,
        traces=tuple((mixture @ turning).real),
        behaviour=tuple(np.zeros((trials, frames, 1))),
        behaviour_names=("none",),
        trials=pd.DataFrame({"trial": range(trials)}),
        neurons=pd.DataFrame({"neuron": range(neurons)}),
    )
    return prepare(session, seed=seed)


def windows(session, length, split, number, batch=16):
    """One stretch of every trial of the split, in random order from a random start; whole trials if `length` is None.

    The same number gives the same windows.
    """
    rng = np.random.default_rng(number)
    stretches = []
    for trial in rng.permutation(session.trials_of(split)):
        trace = session.traces[trial]
        start = rng.integers(trace.shape[1] - length + 1) if length else 0
        stretches.append(torch.from_numpy(trace[:, start : start + length if length else None]))
    groups = [stretches[first : first + batch] for first in range(0, len(stretches), batch)]
    return [WindowBatch(session.name, torch.stack(group)) for group in groups]


def training_batch(session, length, step):
    """One of the batches of the pass that a step falls into."""
    count = len(windows(session, length, "train", 0))
    return windows(session, length, "train", step // count)[step % count]


@torch.no_grad()
def correlation(network, session, context, split="test"):
    """Mean over the trials of the split of the correlation between forecast and truth, to the end of the trial."""
    contexts, futures = cut_trials(session, session.trials_of(split), context)
    given = torch.from_numpy(np.stack(contexts)).to(next(network.parameters()).device)
    forecasts = network.eval().forecast(session.name, given, futures[0].shape[1]).cpu().numpy()
    return float(np.mean([trial_correlation(true, guess) for true, guess in zip(futures, forecasts, strict=True)]))


def task(network, session, context):
    """What `fit` trains a network on: windows of the training trials, judged by the validation trials."""
    return Objective(
        lambda step: training_batch(session, network.window, step),
        lambda model: correlation(model, session, context, "val"),
    )
