"""The project's own files agree with each other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

import calm
from calm.errors import CalmError
from calm.profile import load_profile, profile_names

ROOT = Path(__file__).parents[1]


def pins(lines: list[str]) -> dict[str, str]:
    found = (re.match(r"^([\w.-]+)==([\w.]+)$", line.strip()) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def direct_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["dependencies"] + project["optional-dependencies"]["test"]
    return {re.split(r"[<>=]", name)[0] for name in named}


def test_every_dependency_is_pinned_and_the_environment_has_the_same_versions():
    constraints = pins((ROOT / "constraints.txt").read_text().splitlines())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (packages,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pins(packages) == {name: constraints[name] for name in direct_dependencies()}


@pytest.mark.parametrize("name", ["smoke", "quick", "laptop", "gpu", "paper"])
def test_every_profile_loads(name):
    assert load_profile(name).quantizer.codes > 0


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(CalmError, match=r"'fast'.*quick") as refusal:
        load_profile("fast")
    assert all(name in str(refusal.value) for name in profile_names())


def test_paper_profile_has_the_numbers_of_tables_5_and_6():
    profile = load_profile("paper")
    quantizer, dat = profile.quantizer, profile.dat
    assert (quantizer.width, quantizer.codes, quantizer.encoder_layers, quantizer.decoder_layers) == (512, 128, 4, 4)
    assert (quantizer.heads, quantizer.window, quantizer.ema_decay, quantizer.horizons) == (4, 4, 0.99, 4)
    assert quantizer.temperature == (2.5, 0.01)
    assert (dat.width, dat.layers, dat.heads, dat.ffn) == (512, 6, 8, 2048)
    assert (dat.scheduled_sampling, dat.block, dat.replacement, dat.neighbours) == (0.6, 6, 0.1, 12)


@pytest.mark.parametrize("version", ["1.13.1", "2.7.1+cu121"])
def test_an_old_torch_is_refused(version):
    with pytest.raises(CalmError, match=r"2\.8 or newer"):
        calm.check_torch(version)


@pytest.mark.parametrize("version", ["2.8.0", "2.13.0+cpu", "3.0.1"])
def test_a_newer_torch_is_accepted(version):
    calm.check_torch(version)


NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_there_are_no_notebooks_without_a_source():
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_its_source_says_and_was_not_run_in_place(source):
    notebook = source.with_suffix(".ipynb")
    assert cells(source) == cells(notebook)
    assert not any(cell.get("outputs") for cell in jupytext.read(notebook).cells)


def test_the_code_passes_the_linter():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
