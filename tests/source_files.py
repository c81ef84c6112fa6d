"""Small files of other programs for the tests: Suite2p folders and CaImAn's HDF5."""

from pathlib import Path

import h5py
import numpy as np

RATE = 10.0  # Hz


def random_fluorescence(neurons=3, frames=100, seed=0):
    """(neurons, frames) of raw fluorescence around 100."""
    return np.random.default_rng(seed).normal(100, 5, (neurons, frames)).astype(np.float32)


def suite2p_plane(folder: Path, traces: np.ndarray, *, neuropil=None, cells=None) -> Path:
    """What Suite2p writes about one plane; ops.npy is a pickle, as there."""
    folder.mkdir(parents=True)
    np.save(folder / "F.npy", traces)
    np.save(folder / "ops.npy", {"fs": 30.0}, allow_pickle=True)
    if neuropil is not None:
        np.save(folder / "Fneu.npy", neuropil)
    if cells is not None:
        np.save(folder / "iscell.npy", np.stack([np.asarray(cells, float), np.linspace(0.2, 0.9, len(cells))], axis=1))
    return folder


def caiman_file(path: Path, **estimates) -> Path:
    """CaImAn's results; it writes None as a text."""
    with h5py.File(path, "w") as file:
        for name, value in estimates.items():
            file[f"estimates/{name}"] = "NoneType" if value is None else value
        file["params/data/fr"] = RATE
    return path
