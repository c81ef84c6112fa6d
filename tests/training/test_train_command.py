"""`python -m calm.train` leaves the stages that notebooks find, by one process or by two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from calm.paper.experiments import ablations
from calm.paper.experiments.forecasting import finetune_calm, train_calm
from calm.paper.results import Results
from calm.profile import load_profile
from calm.recordings import load_recordings
from calm.train import main, train_stages

PROJECT, VARIANTS = Path(__file__).parents[2], ablations.VARIANTS


@pytest.fixture(autouse=True)
def variants_as_before(monkeypatch):
    monkeypatch.setattr(ablations, "VARIANTS", VARIANTS)


def small_recordings():
    """Four simulated sessions, two of them held out, and a profile of few steps; two ablations are enough here."""
    ablations.VARIANTS = {name: VARIANTS[name] for name in (ablations.BASELINE, ablations.NO_SAMPLING)}
    smoke = load_profile("smoke")
    fits = {
        name: getattr(smoke, name).changed(steps=4, validate_every=2, session_groups=2)
        for name in ("quantizer_fit", "dat_fit", "finetune_fit")
    }
    profile = smoke.changed(
        simulation=smoke.simulation.changed(seeds=(0, 1), held_out_seeds=(2, 3), trials=20),
        ablation=smoke.ablation.changed(seeds=(0,), quantizer_steps=4, dat_steps=2),
        learning_rates=(1.0,),
        **fits,
    )
    return load_recordings("simulation", profile, seed=0)


def check_that_a_notebook_finds_all(recordings, runs):
    """Ask for the stages as notebooks do: a training would fail."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("calm.training.fit.Run", lambda *_: pytest.fail("trained again"))
        quantizer, transformers = train_calm(recordings, seed=0, runs=runs)
        for stages in (transformers, finetune_calm(recordings, quantizer, transformers, seed=0, runs=runs)):
            assert {group: list(each.model.index) for group, each in stages.items()} == {
                "held-in": ["simulation-0", "simulation-1"],
                "held-out": ["simulation-2", "simulation-3"],
            }
        stages = ablations.run_ablations(Results(recordings.name, 0), recordings, seed=0, runs=runs)
        assert stages["transformer"].nunique() == 2


def test_what_the_command_trains_is_found_by_notebooks(tmp_path):
    recordings = small_recordings()
    train_stages(recordings, seed=0, runs=tmp_path)
    check_that_a_notebook_finds_all(recordings, tmp_path)


def test_two_processes_train_what_notebooks_look_for(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        "import pathlib, sys\nfrom test_train_command import small_recordings\nfrom calm.train import train_stages\n"
        "train_stages(small_recordings(), seed=0, runs=pathlib.Path(sys.argv[1]))\n"
    )
    paths = os.pathsep.join([str(PROJECT), str(Path(__file__).parent)])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_that_a_notebook_finds_all(small_recordings(), tmp_path / "runs")


@pytest.mark.parametrize("word", ["profil=smoke", "profile=none", "smoke"])
def test_a_mistake_ends_with_one_sentence(word):
    with pytest.raises(SystemExit, match=r"calm: .*(profil|no parameter)"):
        main([word])
