"""The Snakefile: wrong settings are one sentence, and nothing that a user wrote is executed or leaves its folders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
EVIL = "a;touch x {b} $(touch y) 'q' \"r.yaml"  # of a description
DATA_EVIL = "b;touch z {c} $(touch w).nwb"
NAMES = ["$(touch v) {x}", "../../../x", "", "é" * 400]
ONE_NOTEBOOK = "00_data"


def snakemake(folder, *arguments, project=ROOT, where=("--cores", "1")):
    """Run Snakemake on a project's file, with that project's library, in another folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(project / "Snakefile"), *where, *arguments]
    paths = [str(project), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def workplace(tmp_path):
    """A folder with what the Snakefile looks for; its notebooks only tell their parameters."""
    (tmp_path / "calm").symlink_to(ROOT / "calm")
    (tmp_path / "notebooks").mkdir()
    parameters = nbformat.v4.new_code_cell(
        "profile: str = ''\ndataset: str = ''\nseed: int = 0", metadata={"tags": ["parameters"]}
    )
    told = nbformat.v4.new_code_cell("import json; print(json.dumps([profile, dataset, seed]))")
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[parameters, told], metadata=metadata)
    for source in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        nbformat.write(notebook, tmp_path / "notebooks" / source.name)
    return tmp_path


def describe(folder, file, name):
    """Write a description of one (empty) recording; the folder is below the workplace, so that a way out is seen."""
    (folder / DATA_EVIL).write_text("")
    text = {"name": name, "files": DATA_EVIL.replace("$", "$$").replace("[", "[[]")}
    (folder / file).write_text(yaml.safe_dump(text))
    return file


def files_of(folder):
    """All that is there, but Snakemake's own."""
    return {path for path in folder.rglob("*") if ".snakemake" not in path.parts and "calm" not in path.parts}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["profile=$(touch x)"], "There is no profile '$(touch'"),
        (["profile=smoke dat.depth=3"], "'dat.depth=3' names no setting of a profile: write one of dat.width,"),
        (["profil=quick"], "There is no --config 'profil'"),
        (["seed=$(touch x)"], "--config seed='$(touch x)' is no whole number"),
        (["seed=-1"], "is no whole number"),
        (["processes=0"], "--config processes=0 is no whole number from 1 on"),
        (["dataset=$(touch x)"], "There is no dataset description $(touch x)"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_run(workplace, settings, sentence):
    before = files_of(workplace)
    done = snakemake(workplace, "--dry-run", "--config", *settings)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert files_of(workplace) == before


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_dataset_can_be_planned_and_leads_nowhere_else(workplace, name):
    description = describe(workplace, "mine.yaml", name)
    done = snakemake(workplace, "--dry-run", "--config", "profile=smoke", f"dataset={description}")
    assert done.returncode == 0, done.stderr
    outputs = [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("output:")]
    folders = {Path(output).parent for output in outputs}
    assert len(folders) == 1 and (workplace / folders.pop()).resolve().parents[1] == workplace / "runs/notebooks/smoke"


@pytest.mark.parametrize(("behaviour", "decoded"), [({}, False), ({"behaviour": ["lick"]}, True)])
def test_recordings_without_behaviour_are_not_decoded(workplace, behaviour, decoded):
    (workplace / "a.nwb").write_text("")
    (workplace / "mine.yaml").write_text(yaml.safe_dump({"files": "a.nwb", **behaviour}))
    done = snakemake(workplace, "--dry-run", "--config", "profile=smoke", "dataset=mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "06_embeddings, profile smoke" in done.stdout + done.stderr
    assert ("05_decoding, profile smoke" in done.stdout + done.stderr) == decoded


@pytest.mark.slow
@pytest.mark.parametrize("file", [EVIL, "br{x}.yaml"])
def test_a_notebook_gets_the_description_as_it_is_called_and_nothing_else_happens(workplace, file):
    describe(workplace, file, NAMES[0] + NAMES[1])
    before = files_of(workplace)
    profile = "smoke dat.layers=3 *_fit.steps=2"
    settings = ("--config", f"profile={profile}", "seed=3", f"dataset={file}")
    planned = snakemake(workplace, "--dry-run", *settings)
    (output,) = {word for word in planned.stdout.split() if word.endswith(f"{ONE_NOTEBOOK}.ipynb") and word[0] == "r"}
    done = snakemake(workplace, output, *settings)
    assert done.returncode == 0, done.stderr
    (told,) = (cell.outputs[0].text for cell in nbformat.read(workplace / output, 4).cells if cell.get("outputs"))
    assert json.loads(told) == [profile, file, 3]
    assert {path.name for path in files_of(workplace) - before if path.is_file()} == {
        *(Path(output).name, Path(output).with_suffix(".tsv").name, "recordings.json"),
        "simulation.json",
    }
    (workplace / DATA_EVIL).write_text("another recording")
    again = snakemake(workplace, output, "--dry-run", *settings)
    assert "Params have changed" in again.stdout + again.stderr


def test_the_snakefile_loads_neither_torch_nor_pynwb_nor_matplotlib():
    text = (ROOT / "Snakefile").read_text()
    imports = "\n".join(line for line in text.splitlines() if line.startswith(("from calm", "import ", "from pathlib")))
    code = f"{imports}\nimport sys\nprint(sorted({{'torch', 'pynwb', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("processes", "trainings"), [(1, 0), (2, 1)])
def test_training_on_several_processes_is_a_step_of_its_own(workplace, processes, trainings):
    done = snakemake(workplace, "--dry-run", "--config", "profile=smoke", f"processes={processes}")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count(f"Training on {processes} processes") == trainings


@pytest.mark.parametrize(("cluster", "gpu"), [("cpu", False), ("gpu", True)])
def test_on_a_cluster_a_notebook_is_a_job_that_asks_for_what_the_profile_says(workplace, monkeypatch, cluster, gpu):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    commands = workplace / "bin"
    commands.mkdir()
    answers = {"sinfo": "echo main*", "squeue": "", "sacct": ""}
    for name, text in {"sbatch": f'echo "$@" >{workplace}/asked; exit 1', **answers}.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    cluster_profile = (
        "--workflow-profile",
        str(ROOT / ".slurm" / cluster),
    )  # and no --cores, which clusters do not have
    output = f"runs/notebooks/smoke/cohort/0/{ONE_NOTEBOOK}.ipynb"
    done = snakemake(workplace, output, "--config", "profile=smoke", where=cluster_profile)
    assert (workplace / "asked").exists(), done.stderr
    asked = (workplace / "asked").read_text()
    assert "--cpus-per-task=4 " in asked and "--mem " in asked and ("--gpus=1" in asked) == gpu
