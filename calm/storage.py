"""What calm keeps on the disk: found again under a hash, written whole or not at all, checked when it is read."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from calm.config.base import Config
from calm.errors import CalmError
from calm.paths import file_name
from calm.trial_file import TrialFile

if TYPE_CHECKING:  # reading recordings needs no torch, which takes seconds to load
    import torch

SCHEMA = 2  # of the folders; raised when what is in them is named or ordered otherwise
MANIFEST, CHECKSUM, WEIGHTS = "manifest.json", "manifest.sha256", "weights.safetensors"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # what the system says of a folder that is there and not empty


def stage_key(name: str, configs: Sequence[Config], inputs: Sequence[str], seed: int, version: int) -> str:
    """Folder of a stage's result: its name, and a hash of all that it depends on.

    `version` is that of the stage's code: whoever changes what it computes raises it.
    """
    described = [config.model_dump(mode="json") for config in configs]
    text = json.dumps([SCHEMA, described, list(inputs), seed, version], sort_keys=True)
    return f"{file_name(name)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def written_whole(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Where to write a file, or make a folder, that moves to `path` at the end: whole, or after an error not at all.

    A crash at any moment leaves what was there before, or the new one, whole; what a killed process left unfinished
    is removed when the same is written again.

    Args:
        path: of the file or folder; the folders above it are made.
        replace: a stored folder that is there by then; otherwise it stays, and the new one is discarded. For what
            other processes may be writing as well, all of them the same.

    Raises:
        CalmError: it cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        prefix = f"{_unfinished(path)}{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent, ignore_cleanup_errors=True) as workplace:
            unfinished = Path(workplace) / path.name
            yield unfinished
            for written in (*unfinished.rglob("*"), unfinished):
                _sync(written)
            _move(unfinished, path, replace)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CalmError(
            f"{path} cannot be written ({reason}): make its folder writable, or free space and run again."
        ) from error


def _unfinished(path: Path) -> str:
    """How folders begin in which processes of this machine write a file; then comes the process."""
    return f".{path.name}-{file_name(platform.node())}-"


def _clear_leftovers(path: Path) -> None:
    """Remove what processes of this machine left that were killed outright while they wrote the same file."""
    for leftover in path.parent.glob(f"{glob.escape(_unfinished(path))}*"):
        process = leftover.name.removeprefix(_unfinished(path)).partition("-")[0]
        try:
            os.kill(int(process), 0)  # does nothing but ask whether it is there
        except ProcessLookupError:
            shutil.rmtree(leftover, ignore_errors=True)
        except (PermissionError, ValueError):  # somebody else's, which runs; or no folder of ours
            continue


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _move(unfinished: Path, path: Path, replace: bool) -> None:
    """Put the new file or folder in the old one's place; in between, an old folder is kept under `.old`."""
    old = _aside(path)
    while True:
        with _ignoring(*TAKEN):  # only files and empty folders are replaced at once
            os.replace(unfinished, path)
            break
        if not replace and is_stored(path):
            return
        shutil.rmtree(old, ignore_errors=True)
        with _ignoring(*TAKEN, errno.ENOENT):  # another process was faster
            os.replace(path, old)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _aside(path: Path) -> Path:
    """Where an old folder is while the new one takes its place."""
    return path.with_name(f".{path.name}.old")


@contextlib.contextmanager
def _ignoring(*numbers: int) -> Iterator[None]:
    """Go on after the block if one of these errors of the system ended it."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def is_stored(folder: Path) -> bool:
    """Whether there is a folder to load, be it one that a crash left in the middle of a swap."""
    if not folder.exists() and _aside(folder).exists():
        with _ignoring(*TAKEN, errno.ENOENT):  # another process put it back, or finished the swap
            os.replace(_aside(folder), folder)
    return (folder / CHECKSUM).exists()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Complete a folder: the manifest with the checksum of every file, and its own beside it."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"schema": SCHEMA, "files": files, **manifest}, indent=1))
    (folder / CHECKSUM).write_text(sha256(folder / MANIFEST))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, its files checked.

    Raises:
        CalmError: no such folder, one of another schema, or one whose files are gone or do not match their checksums.
    """
    manifest = _read_manifest(folder)
    for name in manifest["files"]:
        _verify(folder / name, manifest["files"][name].encode())
    return manifest


def verify_file(path: Path) -> None:
    """Check one file of a folder that may hold large ones.

    Raises:
        CalmError: see `read_manifest`.
    """
    _verify(path, _read_manifest(path.parent)["files"].get(path.name, "").encode())


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, itself checked."""
    if not is_stored(folder):
        raise CalmError(f"There is no checkpoint in {folder}: run the notebook that trains it first.")
    _verify(folder / MANIFEST, (folder / CHECKSUM).read_bytes())
    manifest = json.loads((folder / MANIFEST).read_text())
    if manifest["schema"] != SCHEMA:
        raise CalmError(f"{folder} has schema {manifest['schema']}, this calm reads {SCHEMA}: train it again.")
    return manifest


def _verify(path: Path, checksum: bytes) -> None:
    """Refuse a file that does not match its checksum."""
    if not path.exists() or sha256(path).encode() != checksum:
        raise CalmError(f"{path} is damaged (checksum differs): delete {path.parent} and run again.")


def save_checkpoint(folder: Path, tensors: Mapping[str, "torch.Tensor"], manifest: Mapping[str, Any]) -> None:
    """Write weights and manifest, replacing an earlier checkpoint; see `written_whole` for what can go wrong."""
    from safetensors.torch import save_file

    with written_whole(folder) as unfinished:
        unfinished.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished / WEIGHTS)
        write_manifest(unfinished, manifest)


def load_checkpoint(folder: Path) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]]:
    """Tensors and manifest of a checkpoint; see `read_manifest` for what is refused."""
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    return load_file(folder / WEIGHTS), manifest


def save_trials(folder: Path, files: Mapping[str, Iterable[np.ndarray]], manifest: Mapping[str, Any]) -> None:
    """Write trials, a file for each name, one trial in memory at a time; a folder stored meanwhile is as good."""
    with written_whole(folder, replace=False) as unfinished:
        unfinished.mkdir()
        trials = {name: _write_trials(unfinished / f"{name}.bin", arrays) for name, arrays in files.items()}
        write_manifest(unfinished, {**manifest, "trials": trials})


def _write_trials(path: Path, trials: Iterable[np.ndarray]) -> dict[str, Any]:
    """Write trials one after the other; returns what is needed to read them."""
    shapes, dtype = [], None
    with path.open("wb") as file:
        for trial in trials:
            shapes.append(trial.shape)
            dtype = trial.dtype.str
            file.write(np.ascontiguousarray(trial).data)
    return {"dtype": dtype, "shapes": shapes}


def load_trials(folder: Path) -> tuple[dict[str, TrialFile], dict[str, Any]]:
    """The files of trials by their names, and the manifest; see `read_manifest` for what is refused."""
    manifest = read_manifest(folder)
    files = {name: TrialFile(folder / f"{name}.bin", **layout) for name, layout in manifest["trials"].items()}
    return files, manifest
