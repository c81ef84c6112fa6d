"""Where things are written: `runs/` and `figures/` of the project, from whatever folder a notebook is run."""

import os
import tempfile
from pathlib import Path

from calm.config import COHORT, SIMULATION
from calm.errors import CalmError

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "pyproject.toml").exists():  # not an editable install
    ROOT = Path.cwd()
ROOT = Path(os.environ.get("CALM_ROOT", ROOT))  # the tests' own, so that none finds what was made before
DATA, RUNS, FIGURES = ROOT / "data", ROOT / "runs", ROOT / "figures"


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


def figures_folder(profile: str, dataset: str) -> Path:
    """Folder of the figures and tables: of the profile on its own data, or of a user's dataset within it."""
    own = dataset in (SIMULATION, COHORT)
    return ensure_writable(FIGURES / profile if own else FIGURES / profile / dataset)
