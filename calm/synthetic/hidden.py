"""The truth under the trials of a synthetic session: rates, noise-free traces, and what drives a neuron."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from calm.data.session import Session
from calm.synthetic.maze import CYCLE
from calm.synthetic.population import SOURCES, VARIABLES
from calm.synthetic.truth import Truth


def trial_rows(truth: Truth, session: Session, plane: int, trials: Int[np.ndarray, " some"]) -> Int[np.ndarray, " row"]:
    """The volumes of a plane, among all of the truth, that some trials of a session consist of, one after the other."""
    starts = truth.bounds[session.trials["trial_number"].to_numpy()[trials], plane]
    return np.concatenate(
        [start + np.arange(frames) for start, frames in zip(starts, session.frames[trials], strict=True)]
    )


def under_trials(
    truth: Truth,
    session: Session,
    neurons: Int[np.ndarray, " some"],
    trials: Int[np.ndarray, " trial"],
    values: Callable[[int], Float[np.ndarray, "_neuron volume"]],
) -> Float[np.ndarray, "some frame"]:
    """What the truth says of some neurons in trials of a session, one after the other.

    Args:
        truth: of the session.
        session: read from the file that the truth goes with.
        neurons: indices in the session.
        trials: indices in the session.
        values: of all neurons of a plane in every volume: `truth.rates` or `truth.traces`.
    """
    table = session.neurons.iloc[neurons]
    planes = {plane: values(plane)[:, trial_rows(truth, session, plane, trials)] for plane in set(table["plane"])}
    return np.stack([planes[neuron.plane][neuron.id] for neuron in table.itertuples()])


def drive_parts(truth: Truth, session: Session, neuron: int, trials: Int[np.ndarray, " trial"]) -> pd.DataFrame:
    """What drives a neuron in each frame of some trials, one after the other.

    Returns:
        A column for the `baseline` and for each of SOURCES; their sum is the drive, and at 0 a neuron fires at half its
        maximal rate (Eq. 17).
    """
    population, (plane, number) = truth.population, session.neurons.loc[neuron, ["plane", "id"]].astype(int)
    index, rows = population.plane(plane)[number], trial_rows(truth, session, plane, trials)
    mine, design = population.neurons.iloc[index], population.design[plane::CYCLE][rows].astype(float)
    parts = {name: design[:, column] * mine[name] for column, name in enumerate(VARIABLES)}
    parts["position"] = design[:, len(VARIABLES) + int(mine["place"])] * mine["position"]
    parts["latent"] = np.tanh(population.latents[rows].astype(float)) @ population.loadings[:, index].astype(float)
    return pd.DataFrame({"baseline": mine["baseline"], **{name: parts[name] for name in SOURCES}})
