"""Weights from a repository of the Hugging Face Hub, of which a server on this machine plays the part."""

import functools
import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import snapshot_download
from web_files import WholeFiles, served

import calm
from calm.errors import CalmError
from calm.weights import pretrained

SHIPPED = Path(calm.__file__).parent / "weights" / "small"
COMMIT = "5" * 40


class Hub(WholeFiles):
    """Answers what the Hub's library asks of the repository `lab/worms`, whose files are those of the served folder."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        files = {each.name: each for each in Path(self.directory).iterdir() if each.is_file()}
        head, _, name = self.path.partition("?")[0].rpartition("/")
        if head == "/api/models/lab/worms/revision":
            self.answer(json.dumps({"id": "lab/worms", "sha": COMMIT}).encode())
        elif head == "/api/models/lab/worms/tree":
            tree = [{"type": "file", "path": each, "size": files[each].stat().st_size, "oid": each} for each in files]
            self.answer(json.dumps(tree).encode())
        elif head == f"/lab/worms/resolve/{COMMIT}" and name in files:
            self.answer(files[name].read_bytes(), name)
        else:
            self.send_error(404)

    def answer(self, content, tag="json"):
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), "ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Where downloads of `load_pretrained` go, while nothing can be reached but what a test serves."""
    monkeypatch.setattr(pretrained, "RUNS", tmp_path / "runs")
    ask(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "runs" / "hub"


def ask(monkeypatch, address):
    """Take this address for the Hub's."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", functools.partial(snapshot_download, endpoint=address))


def test_weights_of_a_repository_are_those_of_the_folder_it_holds(downloads, tmp_path, monkeypatch):
    shutil.copytree(SHIPPED, tmp_path / "worms")
    with served(tmp_path / "worms", Hub) as address:
        ask(monkeypatch, address)
        weights = calm.load_pretrained("lab/worms")
    assert weights.quantizer.key == calm.load_pretrained("small").quantizer.key
    assert {path.name for path in downloads.rglob("*.*") if path.parent.name == COMMIT} == {
        "manifest.json",
        "manifest.sha256",
        "weights.safetensors",
    }
    ask(monkeypatch, "http://127.0.0.1:9")
    assert calm.load_pretrained("lab/worms").scores == weights.scores  # without the net


def test_a_repository_without_weights_is_refused(downloads, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("none yet")
    with served(tmp_path, Hub) as address:
        ask(monkeypatch, address)
        with pytest.raises(CalmError, match="There are no weights 'lab/worms'"):
            calm.load_pretrained("lab/worms")
        with pytest.raises(CalmError, match="lab/flies is no folder here, and cannot be had from the Hugging Face Hub"):
            calm.load_pretrained("lab/flies")


def test_without_the_net_or_the_library_it_is_said_what_to_do(downloads, monkeypatch):
    with pytest.raises(CalmError, match="check its name and the net"):
        calm.load_pretrained("lab/worms")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CalmError, match=r"pip install -e \"\.\[hub\]\""):
        calm.load_pretrained("lab/worms")
    assert not downloads.exists()


def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(downloads, tmp_path, monkeypatch):
    (tmp_path / "trained").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CalmError, match="There are no weights 'trained/worms'"):
        calm.load_pretrained("trained/worms")
