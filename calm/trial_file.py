"""Trials in one file, each read when it is asked for."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from calm.errors import CalmError


class TrialFile(Sequence[np.ndarray]):
    """The trials in a file, each read when it is asked for, so that a corpus may be larger than the memory.

    Not a memory map: a map of a file that is cut short meanwhile ends the whole process, without a word.

    Args:
        path: of the file.
        dtype: of the numbers.
        shapes: rows and columns of each trial.
    """

    def __init__(self, path: Path, dtype: str, shapes: Sequence[Sequence[int]]):
        self.path, self.dtype, self.shapes = path, np.dtype(dtype), [(rows, columns) for rows, columns in shapes]
        sizes = [rows * columns * self.dtype.itemsize for rows, columns in self.shapes]
        self.offsets = [0, *itertools.accumulate(sizes)]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, trial: SupportsIndex) -> np.ndarray:
        """One trial, (rows, columns).

        Raises:
            CalmError: the file is gone or ends before the trial does.
        """
        trial = range(len(self))[trial]
        rows, columns = self.shapes[trial]
        try:
            values = np.fromfile(self.path, self.dtype, rows * columns, offset=self.offsets[trial])
        except OSError as error:
            raise CalmError(
                f"{self.path} is gone ({error.strerror}): delete {self.path.parent} and run again."
            ) from None
        if values.size < rows * columns:
            raise CalmError(f"{self.path} was cut short: delete {self.path.parent} and run again.")
        return values.reshape(rows, columns)


def shapes_of(trials: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Rows and columns of each trial; those in a file are not read for it."""
    return trials.shapes if isinstance(trials, TrialFile) else [trial.shape for trial in trials]
