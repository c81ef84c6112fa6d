"""NWB files: opened for reading, and written with what a model made of a session; what is wrong is a CalmError."""

import contextlib
import dataclasses
import datetime
import gc
import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from aiohttp import ClientError
from fsspec.implementations.http import HTTPFileSystem
from hdmf.backends.io import HDMFIO
from hdmf.build import GroupBuilder
from hdmf.common import DynamicTable, DynamicTableRegion
from jaxtyping import Float, Int
from pynwb import NWBHDF5IO, NWBFile
from pynwb.epoch import TimeIntervals
from pynwb.file import Subject
from pynwb.ophys import RoiResponseSeries

from calm.data.session import FIRST_FRAME, Session
from calm.errors import CalmError, reading
from calm.paths import address_of
from calm.storage import written_whole

BLOCK, KEPT_BLOCKS = 2**20, 64  # bytes of a file on the web that are loaded at once, and how many such are kept
SIGNATURE = b"\x89HDF\r\n\x1a\n"
NO_HDF5 = "this is not an HDF5 file, so not NWB: leave it out, or convert it to NWB."
NO_DATE = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)  # NWB wants one, and a Session has none


@contextlib.contextmanager
def open_nwb(path: Path) -> Iterator[NWBFile]:
    """An NWB file open for lazy reading; every error raised while it is open is a CalmError with the file's name.

    Raises:
        CalmError: no such file, neither HDF5 nor Zarr, not NWB 2, truncated or damaged.
    """
    try:
        with reading(path), file_access(path) as io:
            yield construct(io, path)
    except CalmError as error:
        cause, address = error.__cause__, address_of(path)
        if address and isinstance(cause, OSError | ClientError):
            raise CalmError(
                f"{address} cannot be read ({cause.__cause__ or cause}): check the address and the net, or try again."
            ) from cause
        name = "" if str(path) in str(error) else f"{path.name}: "
        raise CalmError("".join([f"{name}{error}", *missing_links(path)])) from cause


@contextlib.contextmanager
def file_access(path: Path) -> Iterator[HDMFIO]:
    """What reads the file: pynwb if it is HDF5, hdmf-zarr if it is a Zarr folder.

    Raises:
        CalmError: it is neither, or hdmf-zarr is not installed.
    """
    if path.is_dir() and path.suffix == ".zarr":
        try:
            zarr = importlib.import_module("hdmf_zarr")
        except ImportError:
            raise CalmError("this is a Zarr folder: `pip install hdmf-zarr` to read it.") from None
        with zarr.NWBZarrIO(str(path), "r", load_namespaces=True) as io:
            yield io
        return
    with open_hdf5(path) as file:  # closed even where pynwb cannot begin, or HDF5 would give the old content again
        version = file["nwb_version"][()] if "nwb_version" in file else file.attrs.get("nwb_version", "")
        version = version.decode() if isinstance(version, bytes) else str(version)
        if version.removeprefix("NWB-").startswith(("0.", "1.")):
            raise CalmError(f"this is NWB {version.removeprefix('NWB-')}, and calm reads NWB 2: convert it.")
        with NWBHDF5IO(file=file, mode="r", load_namespaces=True) as io:
            yield io


def open_hdf5(path: Path) -> h5py.File:
    """A file that is there, or on the web.

    Raises:
        CalmError: there is none, or it is not HDF5.
    """
    if address := address_of(path):
        return open_stream(address)
    if not path.is_file():
        raise CalmError(f"there is no file {path}: check the path.")
    if not h5py.is_hdf5(path):
        raise CalmError(NO_HDF5)
    return h5py.File(path)


def open_stream(address: str) -> h5py.File:
    """A file on the web, of which those blocks are loaded that are read.

    Raises:
        CalmError: it is not HDF5, or its server gives whole files only.
    """
    # Files that pynwb left in cycles are closed by the thread that collects them, with the lock of h5py: if that is the
    # one that loads blocks, which h5py waits for, both wait for ever.
    gc.collect()
    blocks = {"block_size": BLOCK, "cache_type": "blockcache", "cache_options": {"maxblocks": KEPT_BLOCKS}}
    stream = HTTPFileSystem().open(address, **blocks)
    try:
        if stream.read(len(SIGNATURE)) == SIGNATURE:
            return h5py.File(stream)
    except ValueError:
        raise CalmError("its server gives no parts of files: download it.") from None
    raise CalmError(NO_HDF5)


def missing_links(path: Path) -> list[str]:
    """A sentence about the files that an HDF5 file links to and that are not there; none if all are."""
    missing: set[str] = set()

    def note(name: str, link: object) -> None:
        if isinstance(link, h5py.ExternalLink) and file.get(name) is None:
            missing.add(link.filename)

    if path.is_file():
        with contextlib.suppress(Exception), h5py.File(path) as file:  # a damaged file has been refused already
            file.visititems_links(note)
    return [f" It links to {', '.join(sorted(missing))}, not found: put it beside the file."] if missing else []


def construct(io: HDMFIO, path: Path) -> NWBFile:
    """The content of an open file, without what belongs to extensions neither installed nor stored in the file."""
    skipped = drop_unknown_types(io.read_builder(), io.manager.namespace_catalog.namespaces)
    if skipped:
        warnings.warn(f"{path.name}: left out {', '.join(skipped)}, of extensions not installed.", stacklevel=2)
    return io.read()


def drop_unknown_types(group: GroupBuilder, known: Sequence[str]) -> list[str]:
    """Remove from a group, in place, what belongs to unknown namespaces, which pynwb refuses; return the paths."""
    skipped = []
    for children in (group.groups, group.datasets):
        for name, child in list(children.items()):
            namespace = child.attributes.get("namespace")
            if namespace is not None and namespace not in known:
                skipped.append(children.pop(name).path)
            elif isinstance(child, GroupBuilder):
                skipped += drop_unknown_types(child, known)
    return skipped


@dataclasses.dataclass(frozen=True, eq=False)
class Stretches:
    """Traces that belong to a stretch of some trials of a session: forecasts, or reconstructions.

    Attributes:
        traces: in the unit of the session as recorded.
        trials: which trials.
        first: the frame of each trial that its stretch begins with; the frame after the last one is beyond the trial.
    """

    traces: Sequence[Float[np.ndarray, "neuron _frame"]]
    trials: Int[np.ndarray, " trial"]
    first: Int[np.ndarray, " trial"]


def write_nwb(path: Path, session: Session, series: Mapping[str, Stretches]) -> None:
    """Write an NWB file with a RoiResponseSeries for each of some stretches, on the clock of the recording.

    They lie in the processing module `calm` and refer to its table `neurons`, the neuron table of the session; the
    trial table is that of the session. The date of the recording is not known: NO_DATE stands for it.

    Raises:
        CalmError: the file exists or cannot be written; stretches overlap in time; no frame of the session has a time.
    """
    if path.exists():
        raise CalmError(f"{path} exists: choose another name, or move it away.")
    if FIRST_FRAME not in session.trials:
        raise CalmError(f"Session {session.name} was not read from a recording, so that no frame of it has a time.")
    nwb = NWBFile(
        session_description="What a CalM model makes of trials of this session.",
        identifier=f"{session.name}-calm",
        session_start_time=NO_DATE,
        session_id=session.name,
        subject=Subject(subject_id=session.subject),
    )
    module = nwb.create_processing_module(name="calm", description="Traces made by a CalM model.")
    neurons = as_table(session.neurons, "neurons")
    module.add(neurons)
    for name, stretches in series.items():
        module.add(as_series(name, session, stretches, neurons))
    nwb.trials = as_table(session.trials, "trials", TimeIntervals)
    with written_whole(path) as unfinished:
        save_nwb(nwb, unfinished)


def save_nwb(nwb: NWBFile, path: Path) -> None:
    """Write an NWB file by way of the memory: where a disk is full, HDF5 itself ends the whole process."""
    file = h5py.File(path.name, "w", driver="core", backing_store=False)
    with NWBHDF5IO(file=file, mode="w") as io:
        io.write(nwb)
        file.flush()
        path.write_bytes(file.id.get_file_image())


def as_table(table: pd.DataFrame, name: str, kind: type[DynamicTable] = DynamicTable) -> DynamicTable:
    """A table as NWB has it: an `id` is a number there, so that one of text becomes the column `neuron`."""
    numbered = "id" in table and table["id"].dtype.kind in "iu"
    table = table.set_index("id") if numbered else table.rename(columns={"id": "neuron"})
    texts = {
        column: values.astype(str).astype(object) for column, values in table.items() if values.dtype.kind not in "biuf"
    }
    return kind.from_dataframe(table.assign(**texts), name, table_description="As calm read it.")


def as_series(name: str, session: Session, stretches: Stretches, neurons: DynamicTable) -> RoiResponseSeries:
    """Stretches one after the other, in the order of time, (frames, neurons).

    Raises:
        CalmError: see `write_nwb`.
    """
    begins = session.trials[FIRST_FRAME].to_numpy(float)[stretches.trials] + stretches.first / session.rate
    order = np.argsort(begins)
    pieces = [stretches.traces[index] for index in order]
    times = np.concatenate(
        [begins[index] + np.arange(piece.shape[1]) / session.rate for index, piece in zip(order, pieces, strict=True)]
    )
    if not np.all(np.diff(times) > 0):
        raise CalmError(f"{session.name}: {name} has trials that overlap in time: write them to files of their own.")
    return RoiResponseSeries(
        name=name,
        data=np.concatenate(pieces, axis=1).T,
        unit=session.unit,
        rois=DynamicTableRegion(name="rois", data=list(range(len(neurons))), description="All.", table=neurons),
        timestamps=times,
    )
