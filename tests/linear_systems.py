"""A noise-free linear system that every network has to learn, and the score of a forecast of it."""

import numpy as np
import pandas as pd
import torch

from calm.data.preparation import prepare
from calm.data.session import Session, cut_trials
from calm.metrics import trial_correlation
from calm.training.batches import window_batches
from calm.training.fit import Objective, fit

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
        behaviour=tuple(np.zeros((trials, frames, 0))),
        behaviour_names=(),
        trials=pd.DataFrame({"trial": range(trials)}),
        neurons=pd.DataFrame({"neuron": range(neurons)}),
    )
    return prepare(session, seed=seed)


@torch.no_grad()
def correlation(network, session, context, split="test"):
    """Mean over the trials of the split of the correlation between forecast and truth, to the end of the trial."""
    contexts, futures = cut_trials(session, session.trials_of(split), context)
    given = torch.from_numpy(np.stack(contexts)).to(next(network.parameters()).device)
    forecasts = network.eval().forecast(session.name, given, futures[0].shape[1]).cpu().numpy()
    return float(np.mean([trial_correlation(true, guess) for true, guess in zip(futures, forecasts, strict=True)]))


def scores_around_training(network, session, context, config, folder):
    """The correlation on test trials before and after training on windows of 16 trials, judged by validation trials."""
    before = correlation(network, session, context)
    numbers = config.changed(rows=16 * len(session.neurons))
    batches = window_batches([session], network.window, numbers, seed=0)
    objective = Objective(batches, lambda model: correlation(model, session, context, "val"))
    fit(network, objective, numbers, seed=0, folder=folder)
    return before, correlation(network, session, context)
