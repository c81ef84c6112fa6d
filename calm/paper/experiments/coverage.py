"""What the broad synthetic corpus covers, and where recordings lie in it; not in the paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import skew

from calm.data.session import Session
from calm.metrics import pearson
from calm.paper.results import Results

ITEM = "coverage"
RATE, SKEWNESS = "frames per second", "skewness"
LAGS = {"correlation of successive frames": 1, "correlation of frames a token apart": 4}


def score_coverage(results: Results, groups: Mapping[str, Sequence[Session]]) -> None:
    """Add what tells recordings apart, each the median over neurons, for the sessions of each group.

    Noise lowers the correlation of successive frames, and slow indicators and activity raise that of frames a token
    apart; spikes that are few and high make a trace skewed.
    """
    for group, sessions in groups.items():
        for session in sessions:
            for metric, value in describe_traces(session).items():
                results.add(metric, value, item=ITEM, group=group, session=session.name, n=len(session.neurons))


def describe_traces(session: Session) -> dict[str, float]:
    """Frame rate, and medians over neurons of autocorrelations within trials and of skewness."""
    numbers = {RATE: session.rate, SKEWNESS: np.median(skew(np.concatenate(session.traces, axis=1), axis=1))}
    for name, lag in LAGS.items():
        earlier, later = (
            np.concatenate([trace[:, piece] for trace in session.traces], axis=1)
            for piece in (slice(None, -lag), slice(lag, None))
        )
        numbers[name] = np.median(pearson(earlier, later))
    return {name: float(value) for name, value in numbers.items()}
