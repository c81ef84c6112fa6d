"""The methods that CalM is compared with, one file each."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float

from calm.session import Session


class Forecaster(Protocol):
    """What every baseline forecaster does."""

    def fit(self, session: Session) -> "Forecaster":
        """Learn from the training trials of a prepared session, choose on its validation trials; returns itself."""

    def forecast(
        self, contexts: Sequence[Float[np.ndarray, "neuron _context"]], horizons: Sequence[int]
    ) -> list[Float[np.ndarray, "neuron _horizon"]]:
        """Predict the next `horizon` frames of every trial from its first frames, in z-scores."""
