"""The synthetic cohort on disk: a folder of NWB files with their truth, and a dataset description."""

from pathlib import Path

import yaml
from tqdm import tqdm

from calm.config.synthetic import COHORT, CohortConfig
from calm.errors import CalmError
from calm.storage import is_stored, read_manifest, stage_key, write_manifest, written_whole
from calm.synthetic.maze import LONGEST, SHORTEST
from calm.synthetic.mice import HELD_OUT, SessionPlan, plan_cohort
from calm.synthetic.recording import place_neurons, write_recording
from calm.synthetic.truth import simulate_session, write_truth

VERSION = 3  # of this stage; raised with any change to what it computes or where it lies
DESCRIPTION = "cohort.yaml"
SMOOTHING = 0.15  # weight of the newest frame, as in the authors' code


def make_cohort(config: CohortConfig, root: Path) -> Path:
    """The folder of a cohort in `root`, named by all its numbers; what is not there whole is made.

    Every session appears whole or not at all, so that an interrupted cohort is gone on with; runs that make the same
    one at once do no harm.

    Raises:
        CalmError: something is missing or damaged, and the folder cannot be written.
    """
    folder, plans = root / stage_key(COHORT, [config], [], config.seed, VERSION), plan_cohort(config)
    missing = [plan for plan in plans if not is_whole((folder / plan.path).parent)]
    for plan in tqdm(missing, desc="Making the cohort", unit="session", disable=not missing):
        make_session(plan, config, folder)
    if not (folder / DESCRIPTION).exists():
        with written_whole(folder / DESCRIPTION) as file:
            file.write_text(describe_cohort(plans))
    return folder


def is_whole(folder: Path) -> bool:
    """Whether a session is there and matches its checksums."""
    try:
        return bool(read_manifest(folder))
    except CalmError:
        return False


def make_session(plan: SessionPlan, config: CohortConfig, folder: Path) -> None:
    """Write the files of one session of a cohort, in place of damaged ones."""
    behaviour, truth = simulate_session(plan, config)
    path = folder / plan.path
    with written_whole(path.parent, replace=is_stored(path.parent)) as unfinished:
        unfinished.mkdir()
        write_recording(plan, behaviour, truth, unfinished / path.name)
        write_truth(truth, unfinished / path.name, place_neurons(plan, truth).drop(columns=["x", "y"]))
        write_manifest(unfinished, {"session": plan.name})


def describe_cohort(plans: list[SessionPlan]) -> str:
    """The dataset description: the files of this cohort, to be prepared as by the authors.

    Context and horizon are not in it: the profile says them.
    """
    content = {
        "name": COHORT,
        "layout": "dandi_000579",
        "files": [plan.path for plan in plans],
        "held_out": list(HELD_OUT),
        "smoothing": SMOOTHING,
        "min_frames": SHORTEST,
        "max_frames": LONGEST,
    }
    return yaml.safe_dump(content, sort_keys=False, width=400)
