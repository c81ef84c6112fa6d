"""Headless runs: parameters are checked, mistakes end in one sentence, nothing half-written is left as whole."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from calm import paths, run
from calm.errors import CalmError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notebook(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("number: int = 1  # of things", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from calm.errors import CalmError\n"
            "if number < 0:\n    raise CalmError('No negative numbers.')\n"
            "print(number)"
        ),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_a_notebook_runs_with_its_parameters(notebook, tmp_path):
    run.run_notebook(notebook, tmp_path / "out.ipynb", {"number": 7})
    outputs = [output for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells for output in cell.get("outputs", [])]
    assert any("7" in output.get("text", "") for output in outputs)


def test_a_mistyped_parameter_is_refused_with_the_known_ones(notebook, tmp_path):
    with pytest.raises(CalmError, match=r"no parameter 'nmber': it has number"):
        run.run_notebook(notebook, tmp_path / "out.ipynb", {"nmber": 7})


def test_a_users_mistake_in_a_notebook_becomes_one_sentence_and_no_output(notebook, tmp_path):
    with pytest.raises(SystemExit, match=r"^calm: No negative numbers\.$"):
        run.main([str(notebook), str(tmp_path / "out.ipynb"), "number=-1"])
    assert not (tmp_path / "out.ipynb").exists()
    assert (tmp_path / "out.unfinished.ipynb").exists()  # what ran until then can be read


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "Call it as"), (["a.ipynb", "b.ipynb"], "no notebook a.ipynb"), (["a", "b", "x"], "write name=value")],
)
def test_a_wrong_call_is_one_sentence(arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        run.main(arguments)


def test_parameter_values_are_typed():
    assert run.parse(["a=1", "b=quick", "c=x=y", "d=0.5"]) == {"a": 1, "b": "quick", "c": "x=y", "d": 0.5}


def test_an_unwritable_folder_is_told_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CalmError, match="cannot be written"):
        paths.ensure_writable(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["profile=fast"], "There is no profile 'fast'"),
        (["profil=quick"], "There is no --config 'profil'"),
        (["dataset=nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_snakemake_refuses_wrong_settings_before_running_anything(settings, sentence):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--config", *settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
