"""Folders of files and a manifest with their checksums: written whole or not at all, checked when read."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from calm.errors import CalmError

SCHEMA = 1


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def written_whole(folder: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """A temporary folder to put files into; at the end it gets the manifest with their checksums, and moves into place.

    A folder that is already there is replaced; a crash at any moment leaves it, or the new one, whole. What is added to
    the manifest meanwhile is written, too.

    Raises:
        CalmError: the folder cannot be written, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise CalmError(f"{folder.parent} cannot be written ({error.strerror}): choose another folder.") from error
    try:
        yield partial
        files = {path.name: sha256(path) for path in sorted(partial.iterdir())}
        text = json.dumps({"schema": SCHEMA, "files": files, **manifest}, indent=1)
        (partial / "manifest.json").write_text(text)
        (partial / "manifest.sha256").write_text(sha256(partial / "manifest.json"))
        for path in (*partial.iterdir(), partial):
            _sync(path)
        _swap(partial, folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            raise CalmError(f"{folder} cannot be written ({error}): free space and run again.") from error
        raise


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], manifest: dict[str, Any]) -> None:
    """Write weights, manifest and their checksums; see `written_whole`.

    Raises:
        CalmError: the folder cannot be written.
    """
    with written_whole(Path(folder), manifest) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / "weights.safetensors")


def _swap(partial: Path, folder: Path) -> None:
    """Put the new folder in the old one's place; in between, the old one is kept under `.old`."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint to load, be it one that a crash left in the middle of a swap."""
    folder = Path(folder)
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    return (folder / "manifest.sha256").exists()


def verify(path: Path, checksum: bytes) -> None:
    """Refuse a file that does not match its checksum.

    Raises:
        CalmError: it does not.
    """
    if not path.exists() or sha256(path).encode() != checksum:
        raise CalmError(f"{path} is damaged (checksum differs): delete {path.parent} and run again.")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, its files checked.

    Raises:
        CalmError: no such folder, one of another schema, or one whose files are gone or do not match their checksums.
    """
    folder = Path(folder)
    if not has_checkpoint(folder):
        raise CalmError(f"There is no checkpoint in {folder}: run the notebook that trains it first.")
    verify(folder / "manifest.json", (folder / "manifest.sha256").read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    if manifest["schema"] != SCHEMA:
        raise CalmError(f"{folder} has schema {manifest['schema']}, this calm reads {SCHEMA}: train it again.")
    for name, checksum in manifest["files"].items():
        verify(folder / name, checksum.encode())
    return manifest


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and manifest of a checkpoint; see `read_manifest` for what is refused."""
    manifest = read_manifest(folder)
    return load_file(Path(folder) / "weights.safetensors"), manifest


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write under a temporary name, then rename: a reader finds the old file or the new one, never half of one."""
    unfinished = path.with_name(f".{path.name}.tmp")
    write(unfinished)
    os.replace(unfinished, path)
