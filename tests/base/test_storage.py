"""A checkpoint is whole or it is refused."""

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import flip
from safetensors import SafetensorError

from calm import storage
from calm.config.base import Config
from calm.devices import enough_memory
from calm.errors import CalmError

TENSORS = {
    "weights": torch.linspace(0, 1, 12).reshape(3, 4).T,  # not contiguous
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "flag": torch.tensor(True),
    "empty": torch.zeros(0, 3),
}
MANIFEST = {"epoch": 3, "best": float("-inf"), "history": [{"loss": 0.1}]}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint on disk."""
    storage.save_checkpoint(tmp_path / "runs" / "run" / "last", TENSORS, MANIFEST)
    return tmp_path / "runs" / "run" / "last"


def assert_holds(folder, tensors, manifest):
    """The checkpoint holds exactly these tensors and at least this manifest, and its folder nothing else."""
    loaded, found = storage.load_checkpoint(folder)
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
    assert {name: found[name] for name in manifest} == manifest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_was_saved_is_loaded(folder):
    assert_holds(folder, TENSORS, MANIFEST)


def test_a_newer_checkpoint_replaces_the_older(folder):
    storage.save_checkpoint(folder, {"other": torch.ones(2)}, {"epoch": 4})
    assert_holds(folder, {"other": torch.ones(2)}, {"epoch": 4})


def test_every_flipped_byte_of_the_weights_is_noticed(folder):
    weights = folder / "weights.safetensors"
    for position in range(len(weights.read_bytes())):
        flip(weights, position, position % 8)
        with pytest.raises(CalmError, match=r"weights\.safetensors is damaged"):
            storage.load_checkpoint(folder)
        flip(weights, position, position % 8)
    assert_holds(folder, TENSORS, MANIFEST)


def test_every_flipped_digit_of_the_checksum_is_noticed(folder):
    manifest = folder / "manifest.json"
    checksum = json.loads(manifest.read_text())["files"]["weights.safetensors"]
    start = manifest.read_text().index(checksum)
    for position in range(start, start + len(checksum)):
        flip(manifest, position)
        with pytest.raises(CalmError, match="damaged"):
            storage.load_checkpoint(folder)
        flip(manifest, position)


def test_every_flipped_byte_of_the_manifest_is_noticed(folder):
    manifest = folder / "manifest.json"
    for position in range(len(manifest.read_bytes())):
        flip(manifest, position)
        with pytest.raises(CalmError):
            storage.load_checkpoint(folder)
        flip(manifest, position)


def test_truncated_weights_are_noticed(folder):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CalmError, match="damaged"):
        storage.load_checkpoint(folder)


@pytest.mark.parametrize("missing", ["run", "run/last", "elsewhere", "file/last"])
def test_a_missing_checkpoint_is_named(tmp_path, missing):
    (tmp_path / "run" / "last").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert not storage.is_stored(tmp_path / missing)
    with pytest.raises(CalmError, match=f"no checkpoint in .*{missing}"):
        storage.load_checkpoint(tmp_path / missing)


def test_one_file_is_checked_for_itself(folder):
    storage.verify_file(folder / "weights.safetensors")
    (folder / "stranger").write_text("")
    flip(folder / "weights.safetensors", 0)
    for name in ("weights.safetensors", "stranger", "gone"):
        with pytest.raises(CalmError, match=f"{name} is damaged"):
            storage.verify_file(folder / name)


def test_another_schema_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema": storage.SCHEMA + 1}))
    (folder / "manifest.sha256").write_text(storage.sha256(folder / "manifest.json"))
    with pytest.raises(CalmError, match=f"schema {storage.SCHEMA + 1}"):
        storage.load_checkpoint(folder)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), r"\(No space left on device\)"),
        (OSError("too much"), r"\(too much\)"),
        (SafetensorError("I/O error"), r"\(I/O error\)"),
    ],
)
def test_why_a_folder_cannot_be_written_is_told(tmp_path, error, reason):
    with pytest.raises(CalmError, match=rf"last cannot be written {reason}: .* free space"):  # noqa: SIM117
        with storage.written_whole(tmp_path / "last"):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_all_is_on_the_disk_before_it_takes_its_place_and_no_file_stays_open(tmp_path, monkeypatch):
    events, fsync, replace, opened = [], os.fsync, os.replace, len(os.listdir("/dev/fd"))
    monkeypatch.setattr(os, "fsync", lambda handle: events.append(os.fstat(handle).st_ino) or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda *paths: events.append("moved") or replace(*paths))
    storage.save_checkpoint(tmp_path / "last", TENSORS, MANIFEST)
    written = [tmp_path / "last", *(tmp_path / "last").iterdir()]
    assert set(events[:-2]) == {path.stat().st_ino for path in written} and len(written) == 4
    assert events[-2:] == ["moved", tmp_path.stat().st_ino]
    assert len(os.listdir("/dev/fd")) == opened


@pytest.mark.parametrize("below", ["last", "deeper/last"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CalmError, match=r"file.* cannot be written"):
        storage.save_checkpoint(tmp_path / "file" / below, TENSORS, MANIFEST)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError("no space left"), CalmError), (KeyboardInterrupt(), KeyboardInterrupt), (RuntimeError(), RuntimeError)],
)
@pytest.mark.parametrize("broken", ["write_manifest", "sha256", "_sync", "_move"])
def test_a_failing_write_leaves_the_old_checkpoint_and_nothing_else(folder, monkeypatch, broken, error, told):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(storage, broken, fail)
        with pytest.raises(told):
            storage.save_checkpoint(folder, {"other": torch.ones(2)}, {})
    assert_holds(folder, TENSORS, MANIFEST)


def test_what_cannot_be_written_as_json_leaves_the_old_checkpoint(folder):
    with pytest.raises(TypeError):
        storage.save_checkpoint(folder, TENSORS, {"epoch": object()})
    assert_holds(folder, TENSORS, MANIFEST)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_swap_that_stops_half_way_leaves_the_old_checkpoint(folder, monkeypatch, renames):
    calls, rename = [], os.replace

    def stop(path, target):
        if len(calls) == renames:
            raise KeyboardInterrupt
        calls.append(path)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            storage.save_checkpoint(folder, {"other": torch.ones(2)}, {})
    assert len(calls) == renames
    assert storage.is_stored(folder)
    assert_holds(folder, TENSORS, MANIFEST)


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT])
def test_a_checkpoint_that_another_process_put_back_first_is_found(folder, monkeypatch, number):
    replace = os.replace
    folder.rename(folder.with_name(".last.old"))  # a crash between the two renames

    def too_late(path, target):
        replace(path, target)
        raise OSError(number, "the other process was faster")

    monkeypatch.setattr(os, "replace", too_late)
    assert storage.is_stored(folder)
    assert_holds(folder, TENSORS, MANIFEST)


@pytest.mark.parametrize("theirs", [lambda path, old: path.rename(old), lambda path, old: shutil.copytree(path, old)])
def test_a_swap_that_another_process_begins_at_the_same_moment_is_tried_again(folder, monkeypatch, theirs):
    old, replace, tries = folder.with_name(".last.old"), os.replace, []

    def contested(path, target):
        if target == old and not tries:
            theirs(folder, old)
        tries.append(target)
        return replace(path, target)

    monkeypatch.setattr(os, "replace", contested)
    storage.save_checkpoint(folder, {"other": torch.ones(2)}, {"epoch": 4})
    assert tries.count(folder) > 1
    assert_holds(folder, {"other": torch.ones(2)}, {"epoch": 4})


def test_what_an_earlier_swap_left_is_in_nobodys_way(folder):
    for name in ("first", "second"):
        (folder.parent / f".{folder.name}.old").mkdir()
        (folder.parent / f".{folder.name}.old" / "half").write_text("of an older checkpoint")
        storage.save_checkpoint(folder, {name: torch.ones(2)}, {})
        assert_holds(folder, {name: torch.ones(2)}, {})


def test_a_first_checkpoint_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_move", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        storage.save_checkpoint(tmp_path / "last", TENSORS, MANIFEST)
    assert list(tmp_path.iterdir()) == []


def write_trials(folder, number):
    """One of the writers of a stage: all write the same folder, here each its own numbers."""
    storage.save_trials(folder, {"codes": [np.full((50, 40), number)] * 3}, {"number": number})


def write_checkpoint(folder, number):
    """One of the writers of a checkpoint that is replaced again and again."""
    storage.save_checkpoint(folder, {"weights": torch.full((2000,), float(number))}, {"number": number})


def number_of(folder):
    """The number that a whole folder holds everywhere."""
    manifest = storage.read_manifest(folder)
    if "trials" in manifest:
        values = np.concatenate(list(storage.load_trials(folder)[0]["codes"]))
    else:
        values = storage.load_checkpoint(folder)[0]["weights"].numpy()
    assert (values == manifest["number"]).all()
    return manifest["number"]


@pytest.mark.parametrize("write", [write_trials, write_checkpoint])
def test_threads_that_write_one_folder_at_once_leave_one_whole_result(tmp_path, write):
    with ThreadPoolExecutor(4) as pool:
        for attempt in range(60):
            folder = tmp_path / str(attempt) / "stage"
            list(pool.map(write, [folder] * 4, range(4)))  # raises what a writer raises
            assert number_of(folder) in range(4)
            assert [path.name for path in folder.parent.iterdir()] == ["stage"]


def test_what_is_stored_first_stays_and_is_never_away(tmp_path):
    write_trials(tmp_path / "stage", 7)
    with ThreadPoolExecutor(3) as pool:
        writers = pool.map(write_trials, [tmp_path / "stage"] * 100, range(100))
        assert {number_of(tmp_path / "stage") for _ in range(50)} == {7}
        list(writers)
    assert number_of(tmp_path / "stage") == 7


WRITER = """
import sys
from pathlib import Path

import numpy as np

from calm.storage import load_trials, save_trials

number = int(sys.argv[2])
for attempt in range(100):
    folder = Path(sys.argv[1]) / str(attempt)
    save_trials(folder, {"codes": [np.full((50, 40), number)] * 3}, {"number": number})
    load_trials(folder)
"""


def test_processes_that_write_one_folder_at_once_leave_one_whole_result(tmp_path):
    commands = [[sys.executable, "-c", WRITER, str(tmp_path), str(number)] for number in range(3)]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for command in commands]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert {number_of(folder) for folder in tmp_path.iterdir()} <= {0, 1, 2}
    assert len(list(tmp_path.iterdir())) == 100


def test_a_folder_without_a_manifest_is_replaced(tmp_path):
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "leftover").write_text("of something else")
    write_trials(tmp_path / "stage", 3)
    assert number_of(tmp_path / "stage") == 3


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), storage.written_whole(path) as file:
        file.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    with storage.written_whole(path) as file:
        file.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CalmError, match="cannot be written"), storage.written_whole(tmp_path / "folder") as unfinished:
        unfinished.write_text("")
    with pytest.raises(CalmError, match="cannot be written"):
        write_trials(tmp_path / "file", 1)
    assert (tmp_path / "folder").is_dir() and (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", ".", "", "x\0y", "x\ny", "$(touch x)", "é" * 400])
def test_a_stage_of_any_session_lies_in_one_folder_that_can_be_made(tmp_path, name):
    folder = tmp_path / storage.stage_key(name, [], [], 0, 1)
    assert folder.resolve().parent == tmp_path.resolve()
    storage.save_trials(folder, {"codes": [np.zeros((1, 2))]}, {"session": name})
    assert storage.read_manifest(folder)["session"] == name
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_process_left_is_removed_when_the_same_is_written_again(tmp_path):
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    machine = storage.file_name(platform.node())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as running:
        processes = ((machine, int(killed.stdout)), (machine, running.pid), ("elsewhere", int(killed.stdout)))
        dead, *others = (tmp_path / f".stage-{node}-{process}-abc" for node, process in (*processes, (machine, "mine")))
        for leftover in (dead, *others):
            leftover.mkdir()
            (leftover / "half").write_text("")
        write_trials(tmp_path / "stage", 1)
        assert set(tmp_path.iterdir()) == {tmp_path / "stage", *others}
        assert running.poll() is None


def test_what_processes_of_others_write_stays(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    theirs = tmp_path / f".stage-{storage.file_name(platform.node())}-1-abc"
    theirs.mkdir()
    write_trials(tmp_path / "stage", 1)
    assert set(tmp_path.iterdir()) == {tmp_path / "stage", theirs}


def test_two_may_remove_the_same_leftover_at_once(tmp_path, monkeypatch):
    dead = tmp_path / f".stage-{storage.file_name(platform.node())}-1-abc"
    dead.mkdir()

    def faster(*_):
        dead.rmdir()
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", faster)
    write_trials(tmp_path / "stage", 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "stage"]


class Source(Config):
    """A configuration with what JSON does not know, and a mapping, whose order means nothing."""

    folder: Path = Path("here")
    keep: dict[str, int] | None = None


def test_the_folder_of_a_stage_depends_on_what_a_config_says_and_not_on_its_order():
    configs = [{"keep": {"a": 1, "b": 2}}, {"keep": {"b": 2, "a": 1}}, {"keep": {"a": 2, "b": 1}}, {"folder": "there"}]
    keys = [storage.stage_key("stage", [Source(**each)], [], 0, 1) for each in configs]
    assert keys[0] == keys[1] and len(set(keys)) == 3


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 TB")])
def test_too_little_memory_is_one_sentence_that_says_what_takes_less(error):
    message = r"dat-1, trained .*too little memory .*: take fewer `rows`"
    with pytest.raises(CalmError, match=message), enough_memory("dat-1, trained with batches of 9 `rows`"):
        raise error
    with pytest.raises(RuntimeError, match="another"), enough_memory("dat-1"):
        raise RuntimeError("another")
