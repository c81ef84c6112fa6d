"""Run a notebook headlessly: `python -m calm.run NOTEBOOK OUTPUT name=value ... @FILE`, a YAML file of more values."""

import os
import sys
from pathlib import Path
from typing import Any

import papermill
from papermill.exceptions import PapermillExecutionError

from calm.errors import RESUMES, CalmError, command
from calm.paths import FIGURES, RUNS, ensure_writable
from calm.storage import written_whole
from calm.user_yaml import parse_yaml


def parse(words: list[str]) -> dict[str, Any]:
    """Parameters from `name=value` words, whose values are YAML, and from the YAML files of `@FILE` words.

    Raises:
        CalmError: a word is neither, or there is no such file.
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("@"):
            parameters |= read_parameters(Path(word[1:]))
        elif equals:
            parameters[name] = parse_yaml(value, f"The value of {word!r}")
        else:
            raise CalmError(f"{word!r} is no parameter: write name=value.")
    return parameters


def parse_settings(words: list[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """The settings of a command, the defaults for those that `words` do not name.

    Raises:
        CalmError: as `parse`, or a setting that the command does not have.
    """
    settings = parse(words)
    if unknown := sorted(set(settings) - set(defaults)):
        raise CalmError(f"There is no setting {unknown[0]!r}: there are {', '.join(defaults)}.")
    return {**defaults, **settings}


def read_parameters(path: Path) -> dict[str, Any]:
    """Parameters from a YAML file.

    Raises:
        CalmError: there is none, or it does not hold names and values.
    """
    parameters = parse_yaml(path.read_bytes(), path) if path.is_file() else None
    if not isinstance(parameters, dict):
        raise CalmError(f"{path} is no file of parameters: write a line `name: value` for each.")
    return parameters


def check_names(notebook: Path, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the notebook does not have; papermill would only warn.

    Raises:
        CalmError: no such notebook or parameter.
    """
    if not notebook.exists():
        raise CalmError(f"There is no notebook {notebook}.")
    known = papermill.inspect_notebook(notebook)
    if unknown := sorted(set(parameters) - set(known)):
        raise CalmError(f"{notebook.name} has no parameter {unknown[0]!r}: it has {', '.join(known)}.")


def run_notebook(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook; on an error what has run so far is kept beside `output`, which itself is only written whole.

    Raises:
        CalmError: what the notebook raised, or what is wrong with the call.
    """
    check_names(notebook, parameters)
    for folder in (RUNS, FIGURES, output.parent):
        ensure_writable(folder)
    partial = output.with_name(f"{output.stem}.unfinished.ipynb")
    try:
        papermill.execute_notebook(notebook, partial, parameters, cwd=os.getcwd(), progress_bar=False, log_output=True)
    except PapermillExecutionError as error:
        if error.ename == CalmError.__name__:
            raise CalmError(error.evalue) from error
        raise
    with written_whole(output) as file:
        partial.rename(file)


def main(arguments: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    with command(interrupted=RESUMES):
        if len(arguments) < 2:
            raise CalmError("Call it as: python -m calm.run NOTEBOOK OUTPUT name=value ...")
        run_notebook(Path(arguments[0]), Path(arguments[1]), parse(arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
