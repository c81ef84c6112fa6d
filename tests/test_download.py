"""Downloading DANDI:000579, against a client that gives what the tests say and knows no network."""

import hashlib
import shutil
import sys
import types
from pathlib import Path

import pytest

from calm import download
from calm.download import choose, list_sessions, main
from calm.errors import CalmError

TABLE = Path(__file__).parents[1] / "data" / "dandi_000579_sessions.csv"
CONTENT = {"one": b"first recording", "two": b"second", "plane": b"not wanted"}


class Archive:
    """A stand-in for the DANDI client: `sent` is what it gives, `starts` from which byte it was asked."""

    def __init__(self):
        self.sent = dict(CONTENT)
        self.starts: list[tuple[str, int]] = []
        self.digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
        self.break_after: int | None = None  # bytes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def get_dandiset(self, identifier, version):
        assert (identifier, version) == ("000579", "0.230728.1727")
        return self

    def get_asset(self, name):
        return types.SimpleNamespace(
            size=len(CONTENT[name]),
            get_download_file_iter=lambda: lambda start: self.chunks(name, start),
            get_raw_metadata=lambda: {"digest": {"dandi:sha2-256": self.digests[name]} if self.digests else {}},
        )

    def chunks(self, name, start):
        self.starts.append((name, start))
        for byte in range(start, len(self.sent[name])):
            if byte == self.break_after:
                raise ConnectionError("the line is dead")
            yield self.sent[name][byte : byte + 1]


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The stand-in, and a table of two sessions of mouse 3, one of them single-plane, and one of mouse 4."""
    rows = [("3", "multi", "one"), ("4", "multi", "two"), ("3", "single", "plane")]
    lines = ["mouse,date,area,layer,imaging,size_bytes,path,asset_id"]
    for mouse, imaging, name in rows:
        size = len(CONTENT[name])
        lines.append(f"{mouse},2017-05-04,V1,L5,{imaging}-plane-imaging,{size},sub-{mouse}/{name}.nwb,{name}")
    (tmp_path / "dandi_000579_sessions.csv").write_text("\n".join(lines))
    found = Archive()
    monkeypatch.setattr(download, "DATA", tmp_path)
    client = types.SimpleNamespace(DandiAPIClient=lambda: found)
    monkeypatch.setitem(sys.modules, "dandi", types.ModuleType("dandi"))
    monkeypatch.setitem(sys.modules, "dandi.dandiapi", client)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """What was downloaded."""
    return {path.name: path.read_bytes() for path in (folder / "000579").rglob("*") if path.is_file()}


def refused(arguments: list[str], *words: str) -> None:
    """Check that the command ends with one sentence that holds the words."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    text = str(end.value)
    assert text.startswith("calm: ") and text.endswith(".") and "\n" not in text
    assert all(word in text for word in words), text


# --- Which sessions


def test_the_sessions_are_those_of_the_paper_and_one_more_of_mouse_4():
    sessions = list_sessions(TABLE)
    counts = [len(choose(sessions, mouse, None)) for mouse in range(3, 11)]
    assert counts == [17, 23 + 1, 31, 46, 35, 42, 41, 51] and len(choose(sessions, None, None)) == 287
    areas = sessions["area"].value_counts().to_dict()
    assert areas == {"AM": 42, "MM": 41, "PM": 35, "RSC": 55 + 1, "V1": 43, "visA": 70}
    assert sessions["path"].str.contains("multi-plane").all() and sessions["asset_id"].is_unique


def test_a_few_sessions_are_the_smallest():
    sessions = list_sessions(TABLE)
    assert choose(sessions, None, 3)["size_bytes"].tolist() == sorted(sessions["size_bytes"])[:3]
    assert len(choose(sessions, None, 287)) == 287


def test_what_cannot_be_chosen(archive, capsys):
    refused(["--mouse", "5"], "no mouse 5", "3, 4")
    refused(["--sessions", "3"], "no 3 sessions", "1 to 2")
    for arguments in ([], ["--all", "--mouse", "3"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "usage" in capsys.readouterr().err


def test_outside_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "DATA", tmp_path / "nowhere")
    refused(["--all"], "dandi_000579_sessions.csv", "repository")


# --- What happens to the files


def test_a_dry_run_tells_and_does_nothing(archive, tmp_path, capsys):
    main(["--all", "--dry-run"])
    text = capsys.readouterr().out
    assert "sub-3/one.nwb" in text and "sub-4/two.nwb" in text and "plane.nwb" not in text
    assert "2 sessions, 0.00 GB" in text
    assert archive.starts == [] and not (tmp_path / "000579").exists()


def test_the_real_total_is_told(monkeypatch, capsys):
    main(["--sessions", "3", "--dry-run"])
    assert "3 sessions, 0.99 GB" in capsys.readouterr().out


def test_files_arrive_where_the_description_looks_for_them(archive, tmp_path):
    main(["--mouse", "3"])
    assert (tmp_path / "000579" / "sub-3" / "one.nwb").read_bytes() == CONTENT["one"]
    assert list(files(tmp_path)) == ["one.nwb"]


def test_files_that_are_there_are_skipped(archive, tmp_path, capsys):
    main(["--mouse", "3"])
    main(["--all"])
    assert archive.starts == [("one", 0), ("two", 0)]
    assert "one.nwb  (is there)" in capsys.readouterr().out
    (tmp_path / "000579" / "sub-4" / "two.nwb").write_bytes(b"short")
    main(["--all"])
    assert files(tmp_path) == {"one.nwb": CONTENT["one"], "two.nwb": CONTENT["two"]}


def test_an_interrupted_download_goes_on_where_it_was(archive, tmp_path):
    archive.break_after = 5
    refused(["--mouse", "3"], "one.nwb", "the line is dead", "again")
    assert files(tmp_path) == {".one.nwb.partial": CONTENT["one"][:5]}
    archive.break_after = None
    main(["--mouse", "3"])
    assert archive.starts == [("one", 0), ("one", 5)]
    assert files(tmp_path) == {"one.nwb": CONTENT["one"]}


def test_a_complete_part_is_only_checked(archive, tmp_path):
    (tmp_path / "000579" / "sub-3").mkdir(parents=True)
    (tmp_path / "000579" / "sub-3" / ".one.nwb.partial").write_bytes(CONTENT["one"])
    main(["--mouse", "3"])
    assert archive.starts == [] and files(tmp_path) == {"one.nwb": CONTENT["one"]}


@pytest.mark.parametrize("sent", [CONTENT["one"][:-1], CONTENT["one"] + b"!"])
def test_a_wrong_size_is_an_error_and_leaves_nothing(archive, tmp_path, sent):
    archive.sent["one"] = sent
    refused(["--mouse", "3"], "one.nwb", f"{len(sent)} bytes instead of 15", "again")
    assert files(tmp_path) == {}


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(archive, tmp_path):
    archive.sent["one"] = CONTENT["one"].upper()
    refused(["--mouse", "3"], "one.nwb", "SHA-256", "again")
    assert files(tmp_path) == {}


def test_an_archive_without_checksums_is_believed(archive, tmp_path):
    archive.digests = {}
    main(["--mouse", "3"])
    assert files(tmp_path) == {"one.nwb": CONTENT["one"]}


def test_a_full_disk_is_told_before_anything_is_downloaded(archive, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=10))
    refused(["--all"], "0.00 GB free", "ask for less")
    assert archive.starts == []


def test_without_the_client(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "dandi.dandiapi", None)
    refused(["--mouse", "3"], 'pip install "calm[dandi]"')
    with pytest.raises(CalmError):
        download.fetch("one", Path("nowhere"))
