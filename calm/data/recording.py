"""A recording: traces and behaviour of one session from beginning to end, on one clock."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

LONGEST_STEP = 1.5  # frames; between two frames that may each be stamped a quarter of a frame off


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """What a reader makes of a file, whether or not it says anything about trials.

    Attributes:
        name: of the session.
        subject: the animal.
        rate: frames per second.
        traces: fluorescence, as recorded or dF/F.
        timestamps: of the frames, in s.
        neurons: one row per neuron.
        behaviour: channels on the same frames.
        behaviour_names: one name per behavioural channel.
    """

    name: str
    subject: str
    rate: float
    traces: Float[np.ndarray, "neuron frame"]
    timestamps: Float[np.ndarray, " frame"]
    neurons: pd.DataFrame
    behaviour: Float[np.ndarray, "frame behaviour"]
    behaviour_names: tuple[str, ...] = ()


def period(clock: Float[np.ndarray, " frame"]) -> float:
    """The usual time from one frame to the next in s."""
    return float(np.median(np.diff(clock)))


def gaps(clock: Float[np.ndarray, " frame"]) -> Bool[np.ndarray, " step"]:
    """Which steps from a frame to the next are longer than LONGEST_STEP."""
    return np.diff(clock) > LONGEST_STEP * period(clock)
