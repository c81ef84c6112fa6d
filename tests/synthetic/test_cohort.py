"""The folder of a cohort: made once and whole, gone on with after a crash, mended where it is damaged."""

import json

import filelock
import pytest
import yaml

from calm.errors import CalmError
from calm.synthetic import cohort as cohorts
from calm.synthetic.cohort import make_cohort


@pytest.fixture
def written(monkeypatch, simulated):
    """Sessions that were written: the simulation is always the same, and the NWB files are a few bytes."""
    names = []

    def write(plan, behaviour, truth, path):
        names.append(plan.name)
        path.write_text(plan.name)

    monkeypatch.setattr(cohorts, "simulate_session", lambda plan, config: simulated)
    monkeypatch.setattr(cohorts, "write_recording", write)
    return names


@pytest.fixture
def paths(written, tiny, tmp_path):
    """The files of one session of each mouse, made."""
    return make_cohort(tiny, tmp_path)


def test_there_is_a_folder_for_each_mouse(paths):
    assert [path.parent.name for path in paths] == [f"sub-{mouse}" for mouse in range(3, 11)]


def test_description_names_the_files_of_this_cohort_and_no_context(paths, tmp_path):
    description = yaml.safe_load((tmp_path / "cohort.yaml").read_text())
    assert [tmp_path / name for name in description.pop("files")] == paths
    assert description == {
        "name": "cohort",
        "layout": "dandi_000579",
        "held_out": ["6", "10"],
        "smoothing": 0.15,
        "min_frames": 60,
        "max_frames": 200,
    }


def test_manifest_has_a_checksum_of_every_file(paths, tmp_path):
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    files = {name for entry in manifest.values() for name in entry["files"]}
    assert files == {str(path.relative_to(tmp_path)) for path in tmp_path.glob("sub-*/*")}


def test_a_cohort_is_made_once_and_used_by_several_runs_at_once(paths, written, tiny, tmp_path):
    assert len(written) == len(paths) == 8
    with filelock.FileLock(tmp_path / ".lock"):
        assert make_cohort(tiny, tmp_path) == paths
    assert len(written) == 8


def test_more_sessions_add_files_and_other_numbers_replace_them(paths, written, tiny, tmp_path):
    make_cohort(tiny.changed(min_sessions=2), tmp_path)
    assert len(written) == len(set(written)) == 16
    make_cohort(tiny.changed(cue=0.1), tmp_path)
    assert len(written) == 24


def test_a_crash_leaves_nothing_half_written_and_is_gone_on_from(tmp_path, written, tiny, monkeypatch):
    whole = cohorts.write_recording

    def die(plan, behaviour, truth, path):
        whole(plan, behaviour, truth, path)
        if len(written) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cohorts, "write_recording", die)
        make_cohort(tiny, tmp_path)
    assert len(list(tmp_path.rglob("*.nwb"))) == 3 and not (tmp_path / "cohort.yaml").exists()
    assert not any(path.name.startswith(".partial") for path in tmp_path.iterdir())
    paths = make_cohort(tiny, tmp_path)
    assert len(written) == 4 + 5 and all(path.exists() for path in paths)


@pytest.mark.parametrize("damage", ["nwb", "truth.safetensors", "tuning.csv", "manifest"])
def test_a_damaged_or_missing_file_is_made_again(paths, written, tiny, tmp_path, damage):
    if damage == "manifest":
        (tmp_path / "manifest.json").write_text("{")
    else:
        victim = paths[2].with_suffix(f".{damage}")
        victim.write_bytes(victim.read_bytes()[:-1])
    for _ in range(2):
        make_cohort(tiny, tmp_path)
        assert len(written) == (16 if damage == "manifest" else 9)


def test_two_runs_that_make_one_folder_are_refused(tmp_path, written, tiny, monkeypatch):
    def second(*_):
        with pytest.raises(CalmError, match="Another process"):
            make_cohort(tiny, tmp_path)
        raise ZeroDivisionError

    monkeypatch.setattr(cohorts, "write_recording", second)
    with pytest.raises(ZeroDivisionError):
        make_cohort(tiny, tmp_path)


def test_a_full_disk_is_told_in_a_sentence(tmp_path, written, tiny, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cohorts, "write_truth", full)
    with pytest.raises(CalmError, match="No space left"):
        make_cohort(tiny, tmp_path)
    assert not list(tmp_path.rglob("*.nwb"))
