"""A session whose behaviour is a lagged linear function of its traces, which every decoder has to learn."""

import numpy as np
import pandas as pd

from calm.data.preparation import prepare
from calm.data.session import Session

NEURONS, BEHAVIOURS, LAGS = 6, ("pitch", "roll", "yaw"), 3


def decodable_session(name="made", neurons=NEURONS, trials=60, noise=0.05, rank=3, seed=0):
    """Trials of 30 to 44 frames of random traces; behaviour has the given rank and a little noise; prepared."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(LAGS * neurons, rank)) @ rng.normal(size=(rank, len(BEHAVIOURS)))
    traces = [rng.normal(size=(neurons, frames)) for frames in rng.integers(30, 45, trials)]
    behaviour = [follow(trace, weights) + noise * rng.normal(size=(trace.shape[1], 3)) for trace in traces]
    session = Session(
        name=name,
        subject="none",
        rate=6.0,
        traces=tuple(traces),
        behaviour=tuple(behaviour),
        behaviour_names=BEHAVIOURS,
        trials=pd.DataFrame({"trial": range(trials)}),
        neurons=pd.DataFrame({"neuron": range(neurons)}),
    )
    return prepare(session, seed=seed)


def follow(trace, weights):
    """Behaviour as the traces of the newest frames make it, frame by frame; before the trial there is nothing."""
    neurons, frames = trace.shape
    behaviour = np.zeros((frames, weights.shape[1]))
    for frame in range(frames):
        for lag in range(min(LAGS, frame + 1)):
            behaviour[frame] += trace[:, frame - lag] @ weights[lag * neurons : (lag + 1) * neurons]
    return behaviour
