"""What was made of some trials as one table, in a file that any language reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from calm.data.session import FIRST_FRAME, Session
from calm.storage import written_whole


def frame_table(
    session: Session,
    trials: Int[np.ndarray, " trial"],
    values: Sequence[Shaped[np.ndarray, "channel _frame"]],
    *,
    names: Sequence[str] | None = None,
    first: int = 0,
    step: int = 1,
) -> pd.DataFrame:
    """A row a frame: `trial`, `time` in s on the clock of the recording, and the values, by default of neurons.

    The values of a trial begin with its frame `first` and are `step` frames apart.
    """
    names = names or session.neuron_names
    begins, tables = session.trials[FIRST_FRAME].to_numpy(float), []
    for trial, channels in zip(trials, values, strict=True):
        frames = first + step * np.arange(channels.shape[1])
        where = pd.DataFrame({"trial": trial, "time": begins[trial] + frames / session.rate})
        tables.append(where.join(pd.DataFrame(channels.T, columns=list(names))))
    return pd.concat(tables, ignore_index=True)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file, or an NPZ file with an array for each column."""
    with written_whole(path) as file:
        if path.suffix == ".csv":
            table.to_csv(file, index=False)
        else:
            np.savez(file, **{name: table[name].to_numpy() for name in table})
