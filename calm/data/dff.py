"""dF/F of recordings that only have the fluorescence F: relative to a baseline that follows slow drifts."""

import dataclasses
import warnings

import numpy as np
import pydantic
from jaxtyping import Float

from calm.config.base import Config
from calm.data.recording import Recording


class Baseline(Config):
    """The running percentile of F that counts as F0; the defaults are those of Suite2p."""

    percentile: float = pydantic.Field(8.0, gt=0, lt=100)
    window: float = pydantic.Field(60.0, gt=0)  # s


def baseline_of(
    fluorescence: Float[np.ndarray, "neuron frame"], rate: float, baseline: Baseline
) -> Float[np.ndarray, "neuron frame"]:
    """The percentile of F in the window around every frame; at the ends, of the window mirrored there."""
    from scipy.ndimage import percentile_filter  # takes a while to load, and few recordings need it

    size = min(max(1, round(baseline.window * rate)), fluorescence.shape[1])
    return np.stack([percentile_filter(trace, baseline.percentile, size, mode="reflect") for trace in fluorescence])


def delta_f_over_f(recording: Recording, baseline: Baseline) -> Recording:
    """The recording with (F - F0) / F0 for F, where F0 is its baseline.

    A neuron whose baseline is not always above 0 has no dF/F: its trace is NaN, with a warning.
    """
    lowest = baseline_of(recording.traces, recording.rate, baseline)
    undefined = ~(lowest > 0).all(axis=1)
    if undefined.any():
        warnings.warn(
            f"{recording.name}: {undefined.sum()} of {len(undefined)} neurons have no dF/F, because their baseline is"
            " not above 0 (too much neuropil off?): leave them out with `bad_neurons: drop`, or say `dff: false`.",
            stacklevel=2,
        )
    lowest[undefined] = np.nan
    return dataclasses.replace(recording, traces=recording.traces / lowest - 1, unit="dF/F")
