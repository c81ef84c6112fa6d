"""What a result was made with: configuration, code, data, packages and device; never who made it or where."""

import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

from calm.paper.results import Results
from calm.recordings import Recordings

PACKAGES = (
    "calm",
    "torch",
    "lightning-fabric",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "statsmodels",
    "matplotlib",
)


def without_folders(value: Any) -> Any:
    """Cut absolute paths, which name users and machines, down to the file name, at any depth."""
    if isinstance(value, dict):
        return {str(key): without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        for flavour in (PurePosixPath, PureWindowsPath):
            if flavour(value).is_absolute() or value.startswith("~"):
                return flavour(value).name
    return value


def git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in a folder; None without git, without a repository or where the command fails."""
    try:
        command = ["git", *arguments]  # no shell, and all words are of this module
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def code_state(module: Path) -> dict[str, str | bool | None]:
    """Commit of the repository that tracks a module, and whether its files differ from that commit.

    Both are None where no repository tracks the module: an installed package may lie inside somebody else's.
    Figures do not count as a difference, since making them is what changes them.
    """
    tracked = git(module.parent, "ls-files", "--error-unmatch", module.name)
    commit = git(module.parent, "rev-parse", "HEAD") if tracked else None
    if commit is None:
        return {"commit": None, "dirty": None}
    return {
        "commit": commit,
        "dirty": bool(git(module.parent, "status", "--porcelain", "--", ":/", ":(top,exclude)figures")),
    }


def package_versions() -> dict[str, str]:
    """Python and the packages that can change a number; one that is not installed is left out."""
    installed = {name: version for name in PACKAGES for version in [version_of(name)] if version}
    return {"python": platform.python_version(), **installed}


def version_of(package: str) -> str | None:
    """Installed version of a package, if any."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def device_name() -> str:
    """The accelerator, or the processor architecture where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"


def provenance(recordings: Recordings, results: Results) -> dict[str, Any]:
    """What results of recordings were made with; the wall time goes from the making of `results` until now."""
    config = recordings.profile.model_dump(mode="json")
    return run_provenance(config, results.seed, recordings.fingerprints, results.started)


def run_provenance(config: dict[str, Any], seed: int, data: dict[str, str], started: float) -> dict[str, Any]:
    """Describe a finished computation.

    Args:
        config: all its numbers, as plain values.
        seed: the one it started from.
        data: SHA-256 of each session (`Session.fingerprint`).
        started: `time.time()` at its start.
    """
    return {
        "config": without_folders(config),
        "seed": seed,
        **code_state(Path(__file__)),
        "data": without_folders(data),
        "packages": package_versions(),
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "wall_time_s": round(time.time() - started, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }
