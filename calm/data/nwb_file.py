"""An NWB file, opened for reading; what is wrong with it is a CalmError that says what to do."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
from hdmf.backends.io import HDMFIO
from hdmf.build import GroupBuilder
from pynwb import NWBHDF5IO, NWBFile

from calm.errors import CalmError


@contextlib.contextmanager
def open_nwb(path: Path) -> Iterator[NWBFile]:
    """An NWB file open for lazy reading; every CalmError raised while it is open gets the file's name.

    Raises:
        CalmError: no such file, neither HDF5 nor Zarr, not NWB 2, truncated or damaged.
    """
    try:
        with file_access(path) as io:
            yield construct(io)
    except CalmError as error:
        hints = [] if path.is_dir() else missing_links(path)
        raise CalmError("".join([f"{path.name}: {error}", *hints])) from None
    except OSError as error:
        raise CalmError(f"{path} is truncated or damaged ({error}): copy or download it again.") from error


def file_access(path: Path) -> HDMFIO:
    """What reads the file: pynwb if it is HDF5, hdmf-zarr if it is a Zarr folder.

    Raises:
        CalmError: it is neither, or hdmf-zarr is not installed.
    """
    if path.is_dir() and path.suffix == ".zarr":
        try:
            return importlib.import_module("hdmf_zarr").NWBZarrIO(str(path), "r", load_namespaces=True)
        except ImportError:
            raise CalmError("this is a Zarr folder: `pip install hdmf-zarr` to read it.") from None
    if not path.is_file():
        raise CalmError(f"there is no file {path}: check the path.")
    if not h5py.is_hdf5(path):
        raise CalmError("this is not an HDF5 file, so not NWB: leave it out, or convert it to NWB.")
    with h5py.File(path) as file:
        version = file["nwb_version"][()] if "nwb_version" in file else file.attrs.get("nwb_version", "")
    version = version.decode() if isinstance(version, bytes) else str(version)
    if version.removeprefix("NWB-").startswith(("0.", "1.")):
        raise CalmError(f"this is NWB {version.removeprefix('NWB-')}, and calm reads NWB 2: convert it.")
    return NWBHDF5IO(path, "r", load_namespaces=True)


def missing_links(path: Path) -> list[str]:
    """A sentence about the files that an HDF5 file links to and that are not there; none if all are."""
    missing: set[str] = set()

    def note(name: str, link: object) -> None:
        if isinstance(link, h5py.ExternalLink) and file.get(name) is None:
            missing.add(link.filename)

    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            file.visititems_links(note)
    return [f" It links to {', '.join(sorted(missing))}, not found: put it beside the file."] if missing else []


def construct(io: NWBHDF5IO) -> NWBFile:
    """The content of an open file, without what belongs to extensions neither installed nor stored in the file."""
    skipped = drop_unknown_types(io.read_builder(), io.manager.namespace_catalog.namespaces)
    if skipped:
        warnings.warn(f"{io.source}: left out {', '.join(skipped)}, of extensions not installed.", stacklevel=2)
    try:
        return io.read()
    except OSError:
        raise
    except Exception as error:  # pynwb raises whatever the first missing piece of a broken file leads to
        reason = " ".join(str(error).split())  # some have several lines
        raise CalmError(f"this is no valid NWB 2 file ({reason}): check it with `pynwb-validate`.") from error


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
