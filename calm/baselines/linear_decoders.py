"""Linear decoders: GLM, ridge on the traces of the newest frames, and RRR, the same at a reduced rank (App. B)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from calm.baselines.ridge import lagged, normal_equations, solve_ridge
from calm.baselines.validation import validation_error
from calm.config.rivals import RidgeDecoderConfig
from calm.data.session import Session, shared_behaviours
from calm.errors import CalmError

Gram = Float[np.ndarray, "regressor regressor"]
Coefficients = Float[np.ndarray, "regressor behaviour"]


def lagged_design(
    trace: Float[np.ndarray, "neuron frame"], lags: int, look_ahead: int = 0
) -> Float[np.ndarray, "frame regressor"]:
    """For each frame the traces of `look_ahead` later frames and of the newest `lags` frames, latest first, then a 1.

    Frames before and after the trial are zeros, the mean of every neuron: no lag crosses into another trial.
    """
    # `lagged` ends before its target, hence one more frame after the trial that it never reads.
    return lagged(np.pad(trace, ((0, 0), (lags - 1, look_ahead + 1))), lags + look_ahead)


def decoding_equations(session: Session, lags: int, look_ahead: int = 0) -> tuple[Gram, Coefficients]:
    """Gram matrix and moments of the training trials; frames on which not every channel was recorded take no part.

    Raises:
        CalmError: there is no other.
    """
    known = {trial: np.isfinite(session.behaviour[trial]).all(axis=1) for trial in session.trials_of("train")}
    if not any(frames.any() for frames in known.values()):
        raise CalmError(
            f"Session {session.name}: no training frame has all of {', '.join(session.behaviour_names)}: decode them"
            " one by one."
        )
    return normal_equations(
        (lagged_design(session.traces[trial], lags, look_ahead)[frames], session.behaviour[trial][frames])
        for trial, frames in known.items()
    )


class GLM:
    """Ridge regression of behaviour on the traces of the newest frames; within the trial; causal without `look_ahead`.

    Attributes:
        penalty: ridge penalty, chosen on the validation trials; on the sum of squares, as in scikit-learn.
        rank: of the coefficients; here, the number of channels.
        coefficients: rows are (lag, neuron), newest lag first, then the intercept, which is not penalised.
        validation: mean squared error of every (rank, penalty) tried.
    """

    penalty: float
    rank: int
    coefficients: Coefficients
    validation: dict[tuple[int, float], float]

    def __init__(self, config: RidgeDecoderConfig):
        self.config = config

    @property
    def parameters(self) -> int:
        """Numbers that were fitted; of a matrix of reduced rank, those that are free."""
        regressors, behaviours = self.coefficients.shape
        return self.rank * (regressors - 1 + behaviours - self.rank) + behaviours

    def candidates(self, gram: Gram, moments: Coefficients, penalty: float) -> dict[int, Coefficients]:
        """Coefficients by their rank."""
        return {moments.shape[1]: solve_ridge(gram, moments, penalty)}

    def fit(self, session: Session) -> "GLM":
        """Fit every penalty (and rank) on the training trials, keep the one with the least validation error.

        Raises:
            CalmError: no behaviour to fit or to validate with.
        """
        shared_behaviours([session])
        gram, moments = decoding_equations(session, self.config.lags, self.config.look_ahead)
        tried = {
            (rank, penalty): coefficients
            for penalty in self.config.penalties
            for rank, coefficients in self.candidates(gram, moments, penalty).items()
        }
        self.validation = {}
        for key, self.coefficients in tried.items():
            self.validation[key] = validation_error(self, session)
        self.rank, self.penalty = min(self.validation, key=self.validation.get)
        self.coefficients = tried[self.rank, self.penalty]
        return self

    def decode(
        self, traces: Sequence[Float[np.ndarray, "neuron _frame"]]
    ) -> list[Float[np.ndarray, "_frame behaviour"]]:
        """Behaviour on every frame, in z-scores."""
        return [lagged_design(trace, self.config.lags, self.config.look_ahead) @ self.coefficients for trace in traces]


class RRR(GLM):
    """Reduced-rank regression: ridge whose coefficients share a few directions of behaviour.

    With the penalty, the best coefficients of rank r are those of ridge projected on the r directions of behaviour of
    which ridge explains most (Mukherjee and Zhu 2011, doi 10.1002/sam.10138).

    Attributes:
        rank: chosen on the validation trials together with the penalty.
    """

    def candidates(self, gram: Gram, moments: Coefficients, penalty: float) -> dict[int, Coefficients]:
        """Coefficients of every rank, 1 to the number of channels."""
        full, mean = solve_ridge(gram, moments, penalty), moments[-1] / gram[-1, -1]
        directions = explained_directions(gram, moments, full)
        reduced = {}
        for rank in range(1, len(mean) + 1):
            projection = directions[:, :rank] @ directions[:, :rank].T
            reduced[rank] = full @ projection
            reduced[rank][-1] += mean - mean @ projection  # every rank predicts the mean from the mean
        return reduced


def explained_directions(
    gram: Gram, moments: Coefficients, coefficients: Coefficients
) -> Float[np.ndarray, "behaviour rank"]:
    """Orthonormal directions of behaviour, the one of which the ridge coefficients explain most first."""
    centred = moments[:-1] - np.outer(gram[:-1, -1], moments[-1] / gram[-1, -1])
    explained = coefficients[:-1].T @ centred
    return np.linalg.eigh((explained + explained.T) / 2)[1][:, ::-1]
