"""Names from users and recordings never lead out of a folder, nor into a shell."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm import paths
from calm.errors import CalmError
from calm.paper import results
from calm.paths import file_name

ATTACKS = [
    *("", ".", "..", "../../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "~", "C:x"),
    *(
        "x\0y",
        "x\ny",
        "x\n",
        "a b",
        "a;touch x",
        "$(touch x)",
        "`touch x`",
        "br{x}",
        "'",
        '"',
        "*",
        "é",
        "名前",
        "\ud800",
    ),
    *("a" * 81, "a" * 400, "é" * 400),
]


@pytest.mark.parametrize("name", ["cohort", "sub-6_ses-20210515", "A.b-c_9", "6", "-", "a" * 80, "a..b"])
def test_an_ordinary_name_stays_as_it_is(name):
    assert file_name(name) == name


@pytest.mark.parametrize("name", ATTACKS)
def test_any_other_name_becomes_an_ordinary_one(name):
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}", file_name(name))
    assert file_name(name) != name and file_name(file_name(name)) == file_name(name)


def test_no_two_names_share_a_file():
    assert len({file_name(name) for name in ATTACKS}) == len(ATTACKS)


def test_what_can_be_read_of_a_name_is_kept():
    assert re.fullmatch(r"mouse-6-left-[0-9a-f]{12}", file_name("mouse 6 (left)"))


@given(st.text())
def test_a_file_of_any_name_lies_in_its_folder(name):
    folder = paths.RUNS / file_name(name)
    assert folder.resolve().parent == paths.RUNS.resolve() and "/" not in file_name(name) and file_name(name)[0] != "."


@pytest.mark.parametrize("name", ["../../../x", "/x", "..", "$(touch x)"])
def test_figures_of_any_dataset_lie_in_the_folder_of_the_profile(tmp_path, monkeypatch, name):
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    assert results.figures_folder("smoke", name).resolve().parent == (tmp_path / "smoke").resolve()


def test_figures_of_a_dataset_with_an_ordinary_name_lie_where_they_did(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    assert results.figures_folder("smoke", "mine") == tmp_path / "smoke" / "mine"
    assert results.figures_folder("smoke", "cohort") == tmp_path / "smoke"


def test_an_unwritable_folder_is_told_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CalmError, match="cannot be written"):
        paths.ensure_writable(tmp_path / "file" / "folder")
