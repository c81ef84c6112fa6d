"""Ridge regression from sums over trials: no lag crosses the border of a trial, and memory does not grow with them."""

from collections.abc import Iterable

import numpy as np
import scipy.linalg
from jaxtyping import Float


def lagged(trace: Float[np.ndarray, "neuron frame"], order: int) -> Float[np.ndarray, "target regressor"]:
    """Design matrix of an autoregression: the `order` frames before each target, newest first, then a 1."""
    trace = trace.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(trace[:, :-1], order, axis=1)  # neuron, target, oldest first
    past = windows[:, :, ::-1].transpose(1, 2, 0).reshape(windows.shape[1], -1)
    return np.hstack([past, np.ones((len(past), 1))])


def normal_equations(
    trials: Iterable[tuple[Float[np.ndarray, "_frame regressor"], Float[np.ndarray, "_frame output"]]],
) -> tuple[Float[np.ndarray, "regressor regressor"], Float[np.ndarray, "regressor output"]]:
    """Gram matrix and moments, summed over the designs and outputs of the trials."""
    gram, moments = 0.0, 0.0
    for design, outputs in trials:
        gram, moments = gram + design.T @ design, moments + design.T @ outputs
    return gram, moments


def solve_ridge(
    gram: Float[np.ndarray, "regressor regressor"], moments: Float[np.ndarray, "regressor output"], penalty: float
) -> Float[np.ndarray, "regressor output"]:
    """Ridge coefficients; as in scikit-learn's `Ridge`, the intercept (last row) is not penalised."""
    penalised = gram.copy()
    penalised.flat[: -1 : len(gram) + 1] += penalty
    return scipy.linalg.solve(penalised, moments, assume_a="pos")
