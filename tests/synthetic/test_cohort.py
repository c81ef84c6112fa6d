"""The folder of a cohort: made once and whole, gone on with after a crash, mended where it is damaged."""

import json

import pytest
import yaml

from calm.errors import CalmError
from calm.synthetic import cohort as cohorts
from calm.synthetic.cohort import make_cohort

ENDINGS = [".nwb", ".truth.safetensors", ".tuning.csv"]


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


def make(config, root):
    """The NWB files of a cohort, made."""
    folder = make_cohort(config, root)
    return [folder / name for name in yaml.safe_load((folder / "cohort.yaml").read_text())["files"]]


@pytest.fixture
def paths(written, tiny, tmp_path):
    """The files of one session of each mouse, made."""
    return make(tiny, tmp_path)


def test_there_is_a_folder_for_each_mouse_and_session(paths):
    assert [path.parents[1].name for path in paths] == [f"sub-{mouse}" for mouse in range(3, 11)]
    assert len({path.parent for path in paths}) == 8


def test_description_names_the_files_of_this_cohort_and_no_context(paths, tiny, tmp_path):
    description = yaml.safe_load((make_cohort(tiny, tmp_path) / "cohort.yaml").read_text())
    assert len(description.pop("files")) == len(paths) and all(path.exists() for path in paths)
    assert description == {
        "name": "cohort",
        "layout": "dandi_000579",
        "held_out": ["6", "10"],
        "smoothing": 0.15,
        "min_frames": 60,
        "max_frames": 200,
    }


def test_manifest_has_a_checksum_of_every_file(paths):
    for path in paths:
        manifest = json.loads((path.parent / "manifest.json").read_text())
        assert set(manifest["files"]) == {path.with_suffix(end).name for end in ENDINGS}


def test_a_cohort_is_made_once(paths, written, tiny, tmp_path):
    assert len(written) == len(paths) == 8
    assert make(tiny, tmp_path) == paths and len(written) == 8


def test_other_numbers_are_another_cohort(paths, written, tiny, tmp_path):
    others = make(tiny.changed(cue=0.1), tmp_path)
    assert len(written) == 16 and not set(others) & set(paths) and all(path.exists() for path in paths)


def test_a_crash_leaves_nothing_half_written_and_is_gone_on_from(tmp_path, written, tiny, monkeypatch):
    whole = cohorts.write_recording

    def die(plan, behaviour, truth, path):
        whole(plan, behaviour, truth, path)
        if len(written) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cohorts, "write_recording", die)
        make(tiny, tmp_path)
    assert len(list(tmp_path.rglob("*.nwb"))) == 3 and not list(tmp_path.rglob("cohort.yaml"))
    paths = make(tiny, tmp_path)
    assert len(written) == 4 + 5 and all(path.exists() for path in paths)


@pytest.mark.parametrize("damage", [*ENDINGS, "manifest"])
def test_a_damaged_or_missing_file_is_made_again(paths, written, tiny, tmp_path, damage):
    victim = paths[2].with_name("manifest.json") if damage == "manifest" else paths[2].with_suffix(damage)
    content = victim.read_bytes()
    victim.write_bytes(content[:-1])
    for _ in range(2):
        make(tiny, tmp_path)
        assert len(written) == 9 and len(victim.read_bytes()) == len(content)


def test_two_runs_may_make_one_cohort_at_once(tmp_path, written, tiny, monkeypatch):
    write, made = cohorts.write_recording, []

    def second(*session):
        monkeypatch.setattr(cohorts, "write_recording", write)
        made.extend(make(tiny, tmp_path))
        write(*session)

    monkeypatch.setattr(cohorts, "write_recording", second)
    assert make(tiny, tmp_path) == made and all(cohorts.is_whole(path.parent) for path in made)


def test_a_full_disk_is_told_in_a_sentence(tmp_path, written, tiny, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cohorts, "write_truth", full)
    with pytest.raises(CalmError, match="No space left"):
        make(tiny, tmp_path)
    assert not list(tmp_path.rglob("*.nwb"))
