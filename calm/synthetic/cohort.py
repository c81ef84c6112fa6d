"""The synthetic cohort on disk: a folder of NWB files, their truth, a manifest, and a dataset description."""

import json
import tempfile
from pathlib import Path
from typing import Any

import filelock
import yaml
from tqdm import tqdm

from calm.config import CohortConfig
from calm.errors import CalmError
from calm.paths import ensure_writable
from calm.storage import sha256, stage_key, written_whole
from calm.synthetic.maze import LONGEST, SHORTEST
from calm.synthetic.mice import HELD_OUT, SessionPlan, plan_cohort
from calm.synthetic.recording import place_neurons, write_recording
from calm.synthetic.truth import simulate_session, write_truth

VERSION = 2  # of this stage; raised with any change to what it computes
MANIFEST, DESCRIPTION, PARTIAL = "manifest.json", "cohort.yaml", ".partial"
SMOOTHING = 0.15  # weight of the newest frame, as in the authors' code


def make_cohort(config: CohortConfig, folder: str | Path) -> list[Path]:
    """Make the files of a cohort that are not there yet, and describe them in `cohort.yaml`.

    A session that is there whole and was made by the same numbers and code is kept, so that a cohort is made once, an
    interrupted one is gone on with, and a larger share of sessions adds files. Every file appears whole or not at all.

    Args:
        config: of the cohort.
        folder: where to; it is made.

    Returns:
        The NWB files by mouse and date.

    Raises:
        CalmError: something is missing, and the folder cannot be written, or another process is writing to it.
    """
    folder = Path(folder)
    plans, description = plan_cohort(config), folder / DESCRIPTION
    manifest = read_manifest(folder)
    known = description.exists() and description.read_text() == describe_cohort(plans)
    if not (known and all(is_made(plan, config, folder, manifest) for plan in plans)):
        _make_locked(plans, config, ensure_writable(folder))
    return [folder / plan.path for plan in plans]


def _make_locked(plans: list[SessionPlan], config: CohortConfig, folder: Path) -> None:
    """Make what is missing, unless somebody else is at it."""
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            _make(plans, config, folder)
    except filelock.Timeout as error:
        raise CalmError(f"Another process is making a cohort in {folder}: wait, or choose another folder.") from error
    except OSError as error:
        raise CalmError(f"{folder} cannot be written ({error}): make it writable or free space.") from error


def _make(plans: list[SessionPlan], config: CohortConfig, folder: Path) -> None:
    """Make what is missing, one session after the other."""
    manifest = read_manifest(folder)
    for plan in tqdm(plans, desc="Making the cohort", unit="session"):
        if not is_made(plan, config, folder, manifest):
            manifest[plan.path] = {"key": session_key(plan, config), "files": make_session(plan, config, folder)}
            with written_whole(folder / MANIFEST) as file:
                file.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    with written_whole(folder / DESCRIPTION) as file:
        file.write_text(describe_cohort(plans))


def is_made(plan: SessionPlan, config: CohortConfig, folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a session's files are there whole, and made by the same numbers and code."""
    entry = manifest.get(plan.path, {})
    return entry.get("key") == session_key(plan, config) and is_whole(folder, entry["files"])


def session_key(plan: SessionPlan, config: CohortConfig) -> str:
    """Hash of all that one session's files depend on; how many others there are is no part of it."""
    of_any_session = config.changed(session_share=1.0, min_sessions=1)
    return stage_key("session", [of_any_session], [plan.name, str(plan.neurons)], config.seed, VERSION)


def make_session(plan: SessionPlan, config: CohortConfig, folder: Path) -> dict[str, str]:
    """Write the files of one session to a folder of their own, then move them into place; return their checksums."""
    target = (folder / plan.path).parent
    behaviour, truth = simulate_session(plan, config)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as partial:
        file = Path(partial) / Path(plan.path).name
        write_recording(plan, behaviour, truth, file)
        write_truth(truth, file, place_neurons(plan, truth).drop(columns=["x", "y"]))
        sums = {path: sha256(path) for path in file.parent.iterdir()}
        for path in sorted(sums, reverse=True):  # the NWB file last, so that none is without its truth
            with written_whole(target / path.name) as unfinished:
                path.rename(unfinished)
    return {f"{target.name}/{path.name}": checksum for path, checksum in sums.items()}


def is_whole(folder: Path, files: dict[str, str]) -> bool:
    """Whether all files are there with their checksums."""
    return all((folder / name).is_file() and sha256(folder / name) == checksum for name, checksum in files.items())


def read_manifest(folder: Path) -> dict[str, Any]:
    """Key and checksums of each session that was finished; of none where the manifest is missing or damaged."""
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def describe_cohort(plans: list[SessionPlan]) -> str:
    """The dataset description: the files of this cohort, whatever others there are, to be prepared as by the authors.

    Context and horizon are not in it: the profile says them.
    """
    content = {
        "name": "cohort",
        "layout": "dandi_000579",
        "files": [plan.path for plan in plans],
        "held_out": list(HELD_OUT),
        "smoothing": SMOOTHING,
        "min_frames": SHORTEST,
        "max_frames": LONGEST,
    }
    return yaml.safe_dump(content, sort_keys=False, width=200)
