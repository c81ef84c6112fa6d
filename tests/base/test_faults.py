"""What happens to whoever has bad luck: killed at any moment, a bit flipped, a full disk, others at work. Minutes.

`pytest -m faults` runs it; CALM_FAULT_SEED repeats the draw that a failure prints.
"""

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from damage import flip
from fit_cases import run, toy_case

from calm.data.preparation import prepare
from calm.data.store import load_session, store_session
from calm.errors import CalmError
from calm.paper.results import Results, update_provenance, verify_results
from calm.storage import load_checkpoint, load_trials, save_checkpoint, save_trials

pytestmark = pytest.mark.faults
TESTS = Path(__file__).parents[1]
KILLS, FLIPS = 10, 60  # of each kind
TRAIN = """
import sys
from pathlib import Path
from fit_cases import run, toy_case
run(toy_case(), Path(sys.argv[1]), steps=300, validate_every=10)
"""
STORE = """
import sys
from pathlib import Path
import numpy as np
from calm.storage import is_stored, load_trials, save_trials
for number in range(40):
    folder = Path(sys.argv[1]) / str(number)
    if not is_stored(folder):
        save_trials(folder, {"tokens": [np.full((50, 40), number, np.uint8)] * 5}, {})
    trials = list(load_trials(folder)[0]["tokens"])
    assert len(trials) == 5 and all((trial == number).all() for trial in trials)
"""
FILL = """
import resource, signal, sys
from pathlib import Path
from calm.errors import CalmError
from calm.profile import load_profile
from calm.synthetic.cohort import make_cohort
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    make_cohort(load_profile("smoke").cohort, Path(sys.argv[1]))
except CalmError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def rng():
    """Another draw in each run, told where a test fails."""
    seed = int(os.environ.get("CALM_FAULT_SEED", secrets.randbelow(2**32)))
    print(f"CALM_FAULT_SEED={seed}")
    return np.random.default_rng(seed)


def start(code, *arguments):
    """A process of its own."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, stderr=subprocess.PIPE)


def hashes(folder):
    """What each file in a folder holds."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.safetensors"))}


def test_training_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path, rng):
    began = time.monotonic()
    straight = start(TRAIN, tmp_path / "straight")
    assert straight.wait() == 0, straight.stderr.read()
    whole, kills = time.monotonic() - began, 0
    for attempt in range(KILLS):
        folder = tmp_path / str(attempt)
        while True:
            process = start(TRAIN, folder)
            try:
                assert process.wait(rng.uniform(0.3, 1.1) * whole) == 0, process.stderr.read()
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        assert hashes(folder / "model") == hashes(tmp_path / "straight" / "model")
    assert kills


def test_of_two_runs_in_one_folder_one_waits_and_both_end_with_the_same_bits(tmp_path):
    straight = start(TRAIN, tmp_path / "straight")
    assert straight.wait() == 0, straight.stderr.read()
    both = [start(TRAIN, tmp_path / "a") for _ in range(2)]
    told = [(process.stderr.read().decode(), process.wait()) for process in both]
    assert [code for _, code in told] == [0, 0], told
    assert sum("Another run is training in" in text for text, _ in told) <= 1
    assert hashes(tmp_path / "a" / "model") == hashes(tmp_path / "straight" / "model")


def test_processes_that_store_the_same_at_once_all_find_it_whole_and_leave_nothing_else(tmp_path):
    for process in [start(STORE, tmp_path) for _ in range(4)]:
        assert process.wait() == 0, process.stderr.read()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, range(40)))


def stored_trials(folder, _):
    save_trials(folder, {"codes": [np.arange(50.0).reshape(5, 10)] * 4}, {"session": "a"})
    return lambda: load_trials(folder)


def stored_checkpoint(folder, _):
    save_checkpoint(folder, {"weights": torch.randn(20, 30)}, {"step": 3})
    return lambda: load_checkpoint(folder)


def stored_session(folder, make_session):
    store_session(folder, prepare(make_session([18] * 10), seed=0))
    return lambda: load_session(folder)


def stored_results(folder, _):
    results = Results("simulation", 0)
    results.add("corr", 0.5, item="fig3b", method="CalM", session="a", split="test")
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    results.save(folder, "fig3b", figure, {"seed": 0})
    plt.close(figure)
    update_provenance(folder / "provenance.json", "fig3b", {"seed": 0})
    return lambda: verify_results(folder)


@pytest.fixture(params=["no folder", "read-only"])
def closed(request, tmp_path):
    """Where nobody can write."""
    place = tmp_path / "closed"
    if request.param == "no folder":
        place.write_text("a file")
        return place
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    place.mkdir(mode=0o500)
    return place


def trained(folder, _):
    run(toy_case(), folder)


@pytest.mark.parametrize("store", [stored_trials, stored_checkpoint, stored_session, stored_results, trained])
def test_where_nobody_can_write_it_is_said_in_a_sentence(closed, make_session, store):
    with pytest.raises(CalmError, match=r"closed.* cannot be written \(.*\): make"):
        store(closed / "stored", make_session)


@pytest.mark.parametrize("store", [stored_trials, stored_checkpoint, stored_session, stored_results])
def test_a_bit_that_flips_anywhere_is_noticed(tmp_path, rng, make_session, store):
    check = store(tmp_path / "stored", make_session)
    files = [path for path in (tmp_path / "stored").iterdir() if path.suffix != ".lock"]
    for _ in range(FLIPS):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        flip(path, rng.integers(len(whole)), rng.integers(8))
        with pytest.raises(CalmError, match=r"checksum|damaged"):
            check()
        path.write_bytes(whole)
    check()


@pytest.mark.parametrize("size", [1, 1000, 50_000, 200_000])
def test_a_disk_that_fills_while_the_cohort_is_made_is_one_sentence_and_leaves_nothing(tmp_path, size):
    process = start(FILL, tmp_path, size)
    told = process.stderr.read().decode().strip().splitlines()[-1]
    assert process.wait() == 1 and "cannot be written (File too large)" in told
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")] == []


def test_training_in_a_folder_that_fills_is_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(CalmError, match=r"cannot be written \(No space left on device\)"):
        run(toy_case(), tmp_path / "run")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
