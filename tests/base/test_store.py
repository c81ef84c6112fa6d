"""Sessions and tokens on the disk: the same numbers, read when asked for, and never half of a file."""

import os
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from backbones import tokenize
from fit_cases import first_pass

from calm.config.fitting import FitConfig
from calm.data.store import load_session, store_session
from calm.errors import CalmError
from calm.storage import load_trials, save_trials
from calm.training.batches import trace_batches
from calm.training.tokens import store_tokens, token_batches
from calm.trial_file import TrialFile, shapes_of

TRACES = "traces.bin"
CONFIG = FitConfig(steps=1, rows=10)


@pytest.fixture
def stored(uneven, tmp_path):
    """A session with trials of several lengths, on the disk."""
    store_session(tmp_path / "stored", uneven)
    return load_session(tmp_path / "stored")


def test_a_stored_session_is_the_same_session(stored, uneven):
    assert (stored.name, stored.subject, stored.rate) == (uneven.name, uneven.subject, uneven.rate)
    assert (stored.behaviour_names, stored.unit) == (uneven.behaviour_names, uneven.unit)
    for found, expected in ((stored.traces, uneven.traces), (stored.behaviour, uneven.behaviour)):
        assert len(found) == len(expected)
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    pd.testing.assert_frame_equal(stored.trials, uneven.trials, check_dtype=False)
    pd.testing.assert_frame_equal(stored.neurons, uneven.neurons, check_dtype=False)
    pd.testing.assert_frame_equal(stored.behaviour_scale, uneven.behaviour_scale)
    assert stored.fingerprint() == uneven.fingerprint() and stored.frames.tolist() == uneven.frames.tolist()


def test_training_on_the_disk_sees_the_same_batches(stored, uneven):
    found, expected = (first_pass(trace_batches([session], CONFIG, 4, seed=0)) for session in (stored, uneven))
    assert len(found) == len(expected) > 1
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_planning_reads_no_trial_and_a_batch_only_its_own(stored, monkeypatch):
    reads, read = [], TrialFile.__getitem__
    monkeypatch.setattr(TrialFile, "__getitem__", lambda file, trial: reads.append(trial) or read(file, trial))
    assert jaxtyping.config.jaxtyping_disable is False
    jaxtyping.config.update("jaxtyping_disable", True)  # the checks of the tests look at trials, too
    try:
        batches = trace_batches([stored], CONFIG, 4, seed=0)
        assert len(batches.stretches(0).trials) > 0 and reads == []
        assert len(batches(0)) == 5 * len(reads) > 0
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_stored_tokens_are_the_tokens_and_are_not_made_again(quantizer, uneven, tmp_path, monkeypatch):
    expected = tokenize(quantizer, uneven)
    first = store_tokens(quantizer, uneven, tmp_path / "tokens")
    monkeypatch.setattr(type(quantizer), "encode_codes", lambda *_: pytest.fail("encoded again"))
    for found in (first, store_tokens(quantizer, uneven, tmp_path / "tokens")):
        assert found.name == expected.name and found.train.tolist() == expected.train.tolist()
        assert all(np.array_equal(*pair) for pair in zip(found.tokens, expected.tokens, strict=True))
        assert found.tokens[0].dtype == np.uint8
    batches = [first_pass(token_batches([each], CONFIG, seed=0)) for each in (first, expected)]
    for found, wanted in zip(*batches, strict=True):
        assert torch.equal(found.tokens, wanted.tokens) and found.tokens.dtype == torch.int64


@pytest.mark.parametrize("trial", [0, 2, -1])
def test_trials_come_back_by_number(tmp_path, trial):
    shapes = [(2, 3), (4, 1), (1, 5)]
    trials = [np.arange(rows * columns, dtype=np.int32).reshape(rows, columns) for rows, columns in shapes]
    save_trials(tmp_path / "stored", {"codes": iter(trials)}, {})
    file = load_trials(tmp_path / "stored")[0]["codes"]
    assert np.array_equal(file[trial], trials[trial]) and file[trial].dtype == np.int32
    assert shapes_of(file) == shapes_of(trials) == shapes
    with pytest.raises(IndexError):
        file[3]


@pytest.mark.parametrize("lost", [1, 4, 12, 24])  # bytes of the 24 that a trial has
def test_a_trial_that_lacks_its_end_is_refused_and_those_before_are_read(tmp_path, lost):
    save_trials(tmp_path / "stored", {"codes": [np.ones((3, 2), np.int32)] * 2}, {})
    file = load_trials(tmp_path / "stored")[0]["codes"]
    os.truncate(tmp_path / "stored" / "codes.bin", 48 - lost)
    assert (file[0] == 1).all()
    with pytest.raises(CalmError, match=r"codes\.bin was cut short"):
        file[1]


@pytest.mark.parametrize(("harm", "told"), [(os.unlink, "gone"), (lambda path: os.truncate(path, 100), "cut short")])
def test_a_file_that_goes_or_is_cut_while_in_use_is_an_error_with_its_name(stored, tmp_path, harm, told):
    batches = trace_batches([stored], CONFIG, 4, seed=0)
    harm(tmp_path / "stored" / TRACES)
    with pytest.raises(CalmError, match=rf"{TRACES}.*{told}.*run again"):
        batches(0)


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 100)])
def test_a_file_that_went_or_was_cut_before_is_refused_at_once(stored, tmp_path, harm):
    harm(tmp_path / "stored" / TRACES)
    with pytest.raises(CalmError, match=f"{TRACES} is damaged"):
        load_session(tmp_path / "stored")


def test_tokens_that_cannot_all_be_written_leave_nothing(quantizer, uneven, tmp_path, monkeypatch):
    encode, calls = type(quantizer).encode_codes, []

    def fail_later(*given):
        calls.append(given)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return encode(*given)

    monkeypatch.setattr(type(quantizer), "encode_codes", fail_later)
    with pytest.raises(CalmError, match=r"No space left on device.*free space"):
        store_tokens(quantizer, uneven, tmp_path / "tokens")
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path

import numpy as np

from calm.errors import CalmError
from calm.storage import save_trials

folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # what a full disk does, without filling one
try:
    save_trials(folder / "stored", {"tokens": (np.zeros((1000, 100), np.uint8) for _ in range(30))}, {})
except CalmError as error:
    print(error, [path.name for path in folder.iterdir()])
"""


def test_a_file_that_outgrows_the_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "free space and run again" in done.stdout and done.stdout.strip().endswith("[]")


def test_a_token_file_is_named_by_its_folder(quantizer, uneven, tmp_path):
    store_tokens(quantizer, uneven, tmp_path / "tokens")
    assert (tmp_path / "tokens" / "tokens.bin").stat().st_size == sum(len(t) * (t.shape[1] // 4) for t in uneven.traces)
