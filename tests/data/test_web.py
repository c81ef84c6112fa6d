"""NWB files read by their address: the same sessions, no more of a file than is needed, mistakes in one sentence."""

import numpy as np
import pytest
from nwb_files import add_behaviour, add_traces, add_trials, new_file, plain_file, random_traces, save
from web_files import PartsOfFiles, WholeFiles, served

import calm
from calm.data.descriptions import load_dataset, states
from calm.errors import CalmError
from calm.paths import address_of
from calm.profile import load_profile
from calm.recordings import load_recordings


def refused(address, *words, **wanted):
    with pytest.raises(CalmError) as error:
        calm.load_sessions({"files": address, **wanted})
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and all(word in text for word in words), text


def test_a_session_by_its_address_is_the_same(tmp_path):
    plain_file(tmp_path / "a.nwb")
    with served(tmp_path) as address:
        (session,) = calm.load_sessions({"files": f"{address}/a.nwb", "behaviour": "lick", "conditions": "go"})
    (local,) = calm.load_sessions({"files": str(tmp_path / "a.nwb"), "behaviour": "lick", "conditions": "go"})
    assert session.fingerprint() == local.fingerprint() and session.trials.equals(local.trials)


def test_only_what_is_needed_is_loaded(tmp_path):
    nwb = new_file()
    add_traces(nwb, random_traces())
    add_behaviour(nwb, "video", np.random.default_rng(0).normal(size=2_000_000))  # 16 MB
    add_trials(nwb, [(float(second), second + 1.0) for second in range(10)])
    size = save(nwb, tmp_path / "a.nwb").stat().st_size
    sent = PartsOfFiles.sent
    with served(tmp_path) as address:
        calm.load_sessions(f"{address}/a.nwb")
    assert 0 < PartsOfFiles.sent - sent < size / 3


def test_a_description_may_name_addresses(tmp_path, monkeypatch):
    for name in ("a", "b"):
        plain_file(tmp_path / f"{name}.nwb", session_id=name)
    smoke, reads = load_profile("smoke"), []
    with served(tmp_path) as address:
        (tmp_path / "mine.yaml").write_text(f"files: ['{address}/a.nwb?version=1', '{address}/b.nwb']\ncontext: 4\n")
        assert [address_of(path) for path in load_dataset(tmp_path / "mine.yaml").paths()] == [
            f"{address}/a.nwb?version=1",
            f"{address}/b.nwb",
        ]
        first = load_recordings(str(tmp_path / "mine.yaml"), smoke, seed=0, runs=tmp_path / "runs")
        monkeypatch.setattr("calm.recordings.read_checked", lambda *args, **options: reads.append(args))
        again = load_recordings(str(tmp_path / "mine.yaml"), smoke, seed=0, runs=tmp_path / "runs")
        assert first.fingerprints == again.fingerprints and len(first.held_in) == 2 and not reads
        calm.inspect(f"{address}/a.nwb")


def test_a_file_that_changed_is_told_by_its_state(tmp_path):
    plain_file(tmp_path / "a.nwb")
    with served(tmp_path) as address:
        (path,) = calm.data.descriptions.describe({"name": "a", "files": f"{address}/a.nwb"}, "a").paths()
        before = states(path)
        assert before == states(path) and before[0][0] == f"{address}/a.nwb"
        with (tmp_path / "a.nwb").open("ab") as file:
            file.write(b"more")
        assert states(path) != before


def test_mistakes_are_told_in_a_sentence(tmp_path):
    plain_file(tmp_path / "a.nwb", data=random_traces(200_000))  # of several blocks
    (tmp_path / "notes.nwb").write_text("no recording")
    with served(tmp_path) as address:
        refused(f"{address}/none.nwb", f"{address}/none.nwb cannot be read", "check the address")
        refused(f"{address}/notes.nwb", "notes.nwb: this is not an HDF5 file")
        refused(f"{address}/a.csv", "`layout` csv", "download", layout="csv", rate=1.0, windows={"length": 8})
    refused(f"{address}/a.nwb", "cannot be read", "the net")  # there is no server any more
    with served(tmp_path, WholeFiles) as address:
        refused(f"{address}/a.nwb", "its server gives no parts of files: download it")
