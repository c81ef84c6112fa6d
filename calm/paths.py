"""Where things are written: `runs/` and `figures/` of the project, from whatever folder a notebook is run."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from calm.errors import CalmError

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "pyproject.toml").exists():  # not an editable install
    ROOT = Path.cwd()
ROOT = Path(os.environ.get("CALM_ROOT", ROOT))  # the tests' own, so that none finds what was made before
DATA, RUNS, FIGURES = ROOT / "data", ROOT / "runs", ROOT / "figures"


ADDRESS = re.compile(r"(https?):/+(.+)")
SAFE_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,80}")


def address_of(path: Path) -> str | None:
    """The address of a file on the web that a path was made of, whose `//` a path makes one `/`; None for others."""
    match = ADDRESS.fullmatch(path.as_posix())
    return f"{match[1]}://{match[2]}" if match else None


def file_name(name: str) -> str:
    """What a name from a user or a recording is called on the disk; the true name belongs into what is written there.

    A name of up to 80 letters, digits, `.`, `_` and `-` stays as it is, unless it begins with a dot. Any other, which
    might lead out of its folder, is cut down to those and gets a hash, so that two names never share a file.
    """
    if SAFE_NAME.fullmatch(name):
        return name
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60] or "unnamed"
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


def ensure_writable(folder: Path) -> Path:
    """Make a folder and check, before any work is done, that results can be written there.

    Raises:
        CalmError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise CalmError(f"{folder} cannot be written ({error.strerror}): make it writable or free space.") from error
