"""Train CalM as the notebooks do, from a shell: `python -m calm.train profile=gpu dataset=cohort seed=0`.

Several processes share the work if `torchrun` starts them: `torchrun --nproc-per-node 4 -m calm.train profile=...`.
What is trained here, the notebooks find.
"""

import sys
from pathlib import Path

from calm.config.synthetic import COHORT
from calm.errors import RESUMES, command
from calm.paper.experiments.ablations import SAMPLING_OFF, run_ablations
from calm.paper.experiments.forecasting import finetune_calm, search_transformer, train_calm
from calm.paper.results import Results
from calm.paths import RUNS
from calm.profile import load_profile
from calm.recordings import Recordings, load_recordings
from calm.run import parse_settings
from calm.training.stages import train
from calm.training.tasks import TransformerTask

DEFAULTS = {"profile": "quick", "dataset": COHORT, "seed": 0}


def train_stages(recordings: Recordings, *, seed: int, runs: Path) -> None:
    """All of CalM (notebooks 02 to 07), its transformer without sampling (03), the ablations (08)."""
    profile = recordings.profile
    quantizer, transformers = train_calm(recordings, seed=seed, runs=runs)
    finetune_calm(recordings, quantizer, transformers, seed=seed, runs=runs)
    tries = search_transformer(quantizer, recordings.held_in, profile, seed=seed, runs=runs)  # found again
    best = profile.dat_fit.changed(learning_rate=tries.learning_rate)
    bare = TransformerTask(quantizer, recordings.held_in, profile.dat.changed(**SAMPLING_OFF), profile.forecast)
    train(bare, best, seed=seed, runs=runs)
    run_ablations(Results(recordings.name, seed), recordings, seed=seed, runs=runs)


def main(words: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    with command(interrupted=RESUMES):
        settings = parse_settings(words, DEFAULTS)
        recordings = load_recordings(settings["dataset"], load_profile(settings["profile"]), seed=settings["seed"])
        train_stages(recordings, seed=settings["seed"], runs=RUNS)


if __name__ == "__main__":
    main(sys.argv[1:])
