"""The library's structure: what imports what, how many floors it has, and what an import brings along."""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "calm").rglob("*.py"))
FLOORS = 11  # of the longest chain of imports
FILES = {".py", ".csv", ".css", ".yaml", ".html", ".txt", ".md", ".json", ".sha256", ".safetensors"}
FULL = 14  # modules of a folder, its __init__ not counted


@functools.cache
def imports() -> dict[str, set[str]]:
    """The modules of calm that each module of calm imports."""
    graph = grimp.build_graph("calm", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def chain_above(module: str, known: dict[str, list[str]]) -> list[str]:
    """The longest chain of imports that begins at a module."""
    if module not in known:
        chains = [chain_above(imported, known) for imported in imports()[module]]
        known[module] = [module, *max(chains, key=len, default=[])]
    return known[module]


def python(code: str) -> str:
    """What a new process prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_lower_rooms_never_import_higher_ones():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout + done.stderr


def test_the_library_has_few_floors():
    known: dict[str, list[str]] = {}
    longest = max((chain_above(module, known) for module in imports()), key=len)
    assert len(longest) <= FLOORS, " > ".join(longest)


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_a_folder_has_few_modules(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= FULL


def test_only_the_papers_room_knows_of_figures():
    figure = re.compile(r"[\"'](fig|table)\d|import matplotlib|from matplotlib|import seaborn")
    elsewhere = [path for path in MODULES if "paper" not in path.relative_to(ROOT).parts]
    assert [path for path in elsewhere if figure.search(path.read_text())] == []
    assert any(figure.search(path.read_text()) for path in MODULES)


HEAVY = "{'torch', 'pynwb', 'matplotlib', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)"


def test_importing_calm_loads_nothing_heavy():
    assert python(f"import calm, sys; print({HEAVY})") == "set()"


def test_importing_calm_takes_less_than_a_second():
    code = "import time; start = time.process_time(); import calm; print(time.process_time() - start)"
    assert float(python(code)) < 1


def test_what_a_user_imports_is_loaded_when_it_is_used():
    code = f"import calm, sys; calm.prepare; calm.load_sessions; print({HEAVY})"
    assert python(code) == "{'pandas'}"
    assert python("import calm; print([getattr(calm, name).__name__ for name in calm.__all__])") == (
        "['CalM', 'CalmError', 'explore', 'from_arrays', 'inspect', 'load_pretrained', 'load_sessions',"
        " 'plot_forecast', 'prepare']"
    )


def test_calm_has_nothing_else():
    code = "import calm\ntry:\n    calm.nothing\nexcept AttributeError as error:\n    print(error)"
    assert python(code) == "module 'calm' has no attribute 'nothing'"


def test_an_old_torch_is_refused_before_it_is_loaded():
    code = (
        "from importlib import metadata\nmetadata.version = lambda name: '2.7.1+cpu'\n"
        "try:\n    import calm\nexcept ValueError as error:\n    print(error)"
    )
    assert python(code) == "calm needs torch 2.8 or newer, this is 2.7.1+cpu: upgrade it."


READ_ALL = """
import sys
sys.path.insert(0, sys.argv[1])
import calm
from calm.paper.results import read_published
from calm.paths import ROOT
from calm.profile import load_profile, profile_names
from calm.synthetic.mice import plan_cohort
from pathlib import Path
assert calm.__file__.startswith(sys.argv[1]), calm.__file__
assert ROOT == Path.cwd()  # results lie where the user is, not among the installed packages
assert all(plan_cohort(load_profile(name).cohort) for name in profile_names()) and len(read_published())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The library as others have it: not the repository, but what is in its wheel."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("calm", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    return target


@pytest.mark.slow
def test_an_installed_library_has_all_files_that_it_reads(installed, tmp_path):
    names = {path.relative_to(ROOT) for path in (ROOT / "calm").rglob("*") if path.suffix in FILES}
    assert {name for name in names if not (installed / name).exists()} == set()
    command = [sys.executable, "-c", READ_ALL, str(installed)]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CALM_ROOT")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
