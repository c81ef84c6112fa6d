"""Recordings read from what Suite2p and CaImAn wrote: arrays only, never a pickle (ops.npy, stat.npy)."""

import re
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Float

from calm.data.recording import Recording, make_recording, subject_of
from calm.errors import CalmError

FOLDERS = re.compile(r"suite2p|plane\d+")  # as Suite2p calls its own
NEUROPIL = 0.7  # of the neuropil's fluorescence is in a cell's; Suite2p's default
CAIMAN_TRACES = ("F_dff", "C")  # dF/F where it was computed, else the denoised traces
CAIMAN_RATE = "params/data/fr"


def read_suite2p(path: Path, *, rate: float, neuropil: float = NEUROPIL) -> Recording:
    """F minus a share of the neuropil's of all ROIs, those of plane 0 first.

    The neuron table has `plane`, `roi` (its number there) and, where iscell.npy is, `iscell` and `probability`.

    Args:
        path: the folder with plane0, plane1, ..., or that of a single plane.
        rate: frames per second of one plane.
        neuropil: the share.

    Raises:
        CalmError: no F.npy, one that is damaged, files of a plane or planes that do not go together.
    """
    planes = plane_folders(path)
    traces = [read_plane(plane, neuropil) for plane in planes]
    counts = [trace.shape[1] for trace in traces]
    if max(counts) - min(counts) > 1:  # the end of a recording may cut off the last planes
        raise CalmError(f"{path}: its planes have {', '.join(map(str, counts))} frames: they are not of one recording.")
    neurons = [
        read_rois(plane, len(trace)).assign(plane=n)
        for n, (plane, trace) in enumerate(zip(planes, traces, strict=True))
    ]
    return make_recording(
        np.concatenate([trace[:, : min(counts)] for trace in traces]),
        name=session_name(path),
        subject=subject_of(path),
        rate=rate,
        neurons=pd.concat(neurons, ignore_index=True),
    )


def session_name(path: Path) -> str:
    """The first folder upwards that is not called as Suite2p calls its own."""
    names = [folder.name for folder in (path.absolute(), *path.absolute().parents)]
    return next((name for name in names if name and not FOLDERS.fullmatch(name)), "suite2p")


def plane_folders(path: Path) -> list[Path]:
    """The folders of the planes in the order of their numbers; `combined` repeats them and is left alone."""
    if (path / "F.npy").exists():
        return [path]
    planes = [folder for folder in path.glob("plane*") if re.fullmatch(r"plane\d+", folder.name)]
    if not planes:
        raise CalmError(f"{path} has neither F.npy nor plane0: name the folder that Suite2p wrote, mostly `suite2p`.")
    return sorted(planes, key=lambda folder: int(folder.name.removeprefix("plane")))


def load_array(file: Path) -> np.ndarray:
    """An array of numbers; a pickle, which could run code, is refused."""
    try:
        return np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise CalmError(f"{file} is missing: copy the whole folder of Suite2p.") from None
    except (OSError, ValueError, EOFError) as error:
        raise CalmError(f"{file} is damaged or no array of numbers ({error}): copy it again.") from None


def read_plane(plane: Path, neuropil: float) -> Float[np.ndarray, "neuron frame"]:
    """F of one plane, corrected for neuropil where that was saved."""
    traces = load_array(plane / "F.npy")
    if not (plane / "Fneu.npy").exists():
        warnings.warn(
            f"{plane}: there is no Fneu.npy, so that the traces hold the neuropil's fluorescence.", stacklevel=2
        )
        return traces
    around = load_array(plane / "Fneu.npy")
    if around.shape != traces.shape:
        raise CalmError(f"{plane}: F.npy is {traces.shape}, but Fneu.npy {around.shape}: copy both of one run.")
    return traces - np.float32(neuropil) * around


def read_rois(plane: Path, count: int) -> pd.DataFrame:
    """The table of one plane's ROIs."""
    rois = pd.DataFrame({"roi": range(count)})
    if not (plane / "iscell.npy").exists():
        return rois
    cells = load_array(plane / "iscell.npy").reshape(-1, 2)
    if len(cells) != count:
        raise CalmError(f"{plane}: F.npy has {count} ROIs, but iscell.npy {len(cells)}: copy both of one run.")
    return rois.assign(iscell=cells[:, 0].astype(bool), probability=cells[:, 1])


def read_caiman(path: Path, *, rate: float | None = None) -> Recording:
    """The traces of all components; the neuron table has `component`, and `accepted` where components were judged.

    Args:
        path: the file.
        rate: frames per second; None takes what the file has.

    Raises:
        CalmError: a file that is not HDF5 or damaged, or has neither of CAIMAN_TRACES.
    """
    try:
        with h5py.File(path) as file:
            traces = next(
                (file[f"estimates/{name}"][:] for name in CAIMAN_TRACES if is_array(file, f"estimates/{name}")), None
            )
            if traces is None:
                raise CalmError(f"{path} has neither estimates/F_dff nor estimates/C: save CaImAn's results as HDF5.")
            neurons = pd.DataFrame({"component": range(len(traces))})
            if is_array(file, "estimates/idx_components"):
                neurons["accepted"] = neurons["component"].isin(file["estimates/idx_components"][:])
            stored = float(file[CAIMAN_RATE][()]) if rate is None and CAIMAN_RATE in file else rate
    except OSError as error:
        raise CalmError(f"{path} is not HDF5 or damaged ({error}): save CaImAn's results as HDF5.") from error
    return make_recording(traces, name=path.stem, subject=subject_of(path), rate=stored, neurons=neurons)


def is_array(file: h5py.File, name: str) -> bool:
    """Whether there is an array; CaImAn writes None as the text `NoneType`."""
    return isinstance(file.get(name), h5py.Dataset) and np.ndim(file[name]) > 0
