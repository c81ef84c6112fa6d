"""What ran and how long is told from what Snakemake and the trainings left behind."""

import os

import pytest
import torch

from calm.paper.report.timing import notebook_times, print_times, training_times
from calm.storage import save_checkpoint

MEASURED = "s\tmax_rss\tcpu_time\n{}\t{}\t{}\n"


@pytest.fixture
def executed(tmp_path):
    """Two notebooks that were measured, one too short for its memory to be known, and one that was not."""
    folder = tmp_path / "executed"
    folder.mkdir()
    (folder / "02_tokenizer.tsv").write_text(MEASURED.format(90, 2048, 120))
    (folder / "00_data.tsv").write_text(MEASURED.format(30, "-", 30))
    (folder / "03_pretraining.ipynb").touch()
    return folder


@pytest.fixture
def runs(tmp_path):
    """Three trainings of one kind, the first of which is old, and one of another."""
    folder = tmp_path / "runs"
    for number, name in enumerate(("poco-0", "poco-1", "poco-2", "gluhead-3")):
        history = [{"step": 5, "seconds": 30.0}, {"step": 10, "seconds": 60.0 * number}]
        save_checkpoint(folder / name / "model", {"weight": torch.ones(1)}, {"history": history})
    os.utime(folder / "poco-0" / "model", (0, 0))
    return folder


def test_notebooks_have_their_minutes_and_memory(executed):
    table = notebook_times(executed)
    assert table.index.tolist() == ["00_data", "02_tokenizer"]
    assert table["minutes"].tolist() == [0.5, 1.5] and table["CPU minutes"].tolist() == [0.5, 2.0]
    assert table["GB"].isna().tolist() == [True, False] and table["GB"].iloc[1] == 2


def test_trainings_since_a_time_are_counted_by_kind(runs):
    table = training_times(runs, since=1.0)
    assert table.index.tolist() == ["poco", "gluhead"]
    assert table["trainings"].tolist() == [2, 1] and table["steps"].tolist() == [20, 10]
    assert table["minutes"].tolist() == [4.0, 3.5]


def test_both_tables_are_printed_with_their_sums(executed, runs, capsys):
    print_times(executed, runs, since=1.0)
    sums = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("in all")]
    assert sums == [["in", "all", "2.0", "2.5"], ["in", "all", "3", "30", "7.5"]]


def test_nothing_is_printed_where_nothing_ran(tmp_path, capsys):
    print_times(tmp_path, tmp_path, since=0.0)
    assert capsys.readouterr().out == ""
