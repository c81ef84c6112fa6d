"""Headless runs: parameters are checked, mistakes end in one sentence, nothing half-written is left as whole."""

import nbformat
import pytest

from calm import run
from calm.errors import CalmError, command


@pytest.fixture
def notebook(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("number: int = 1  # of things", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from calm.errors import CalmError\n"
            "if number < 0:\n    raise CalmError('No negative numbers.')\n"
            "print(number)"
        ),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_a_notebook_runs_with_its_parameters(notebook, tmp_path):
    run.run_notebook(notebook, tmp_path / "out.ipynb", {"number": 7})
    outputs = [output for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells for output in cell.get("outputs", [])]
    assert any("7" in output.get("text", "") for output in outputs)


def test_a_mistyped_parameter_is_refused_with_the_known_ones(notebook, tmp_path):
    with pytest.raises(CalmError, match=r"no parameter 'nmber': it has number"):
        run.run_notebook(notebook, tmp_path / "out.ipynb", {"nmber": 7})


def test_a_users_mistake_in_a_notebook_becomes_one_sentence_and_no_output(notebook, tmp_path):
    with pytest.raises(SystemExit, match=r"^calm: No negative numbers\.$"):
        run.main([str(notebook), str(tmp_path / "out.ipynb"), "number=-1"])
    assert not (tmp_path / "out.ipynb").exists()
    assert (tmp_path / "out.unfinished.ipynb").exists()  # what ran until then can be read


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "Call it as"), (["a.ipynb", "b.ipynb"], "no notebook a.ipynb"), (["a", "b", "x"], "write name=value")],
)
def test_a_wrong_call_is_one_sentence(arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        run.main(arguments)


def test_parameter_values_are_typed():
    assert run.parse(["a=1", "b=quick", "c=x=y", "d=0.5"]) == {"a": 1, "b": "quick", "c": "x=y", "d": 0.5}


def test_parameters_come_from_a_file_too(tmp_path):
    (tmp_path / "more.json").write_text('{"d": "$(touch x)", "a": 2}')
    assert run.parse(["a=1", f"@{tmp_path}/more.json"]) == {"a": 2, "d": "$(touch x)"}


@pytest.mark.parametrize("text", [None, "a word", "[1, 2]", ""])
def test_what_is_no_file_of_parameters_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "more").write_text(text)
    with pytest.raises(CalmError, match="no file of parameters"):
        run.parse([f"@{tmp_path}/more"])


def test_an_interrupted_run_says_that_it_goes_on(monkeypatch, notebook):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_notebook", interrupted)
    with pytest.raises(SystemExit, match="calm: interrupted; the same command goes on"):
        run.main([str(notebook), "out.ipynb"])


@pytest.mark.parametrize(
    ("ends_with", "said", "raised", "sentence"),
    [
        (CalmError("Write this."), None, SystemExit, "calm: Write this."),
        (KeyboardInterrupt(), "it goes on.", SystemExit, "calm: interrupted; it goes on."),
        (KeyboardInterrupt(), None, KeyboardInterrupt, ""),
        (RuntimeError("a fault of calm"), "it goes on.", RuntimeError, "a fault of calm"),
    ],
)
def test_a_command_ends_with_a_sentence_for_what_a_user_can_mend_and_with_no_other(ends_with, said, raised, sentence):
    with pytest.raises(raised) as error, command(interrupted=said):
        raise ends_with
    assert str(error.value) == sentence
