"""`python -m calm.paper.report.executed RUN FIGURES` keeps the executed notebooks of a run, to be read as they are.

They go to FIGURES/notebooks with their outputs, but pictures have few colours, and progress bars, widgets and paths of
the machine are left out.
"""

import base64
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from calm.errors import CalmError, command
from calm.paper.report.web import few_colours
from calm.paths import ROOT, ensure_writable
from calm.storage import written_whole

REPORT = "09_report"  # holds the page that lies beside it
WIDGET = "application/vnd.jupyter.widget-view+json"


def without_noise(output: NotebookNode) -> NotebookNode | None:
    """An output to be read, or None: progress bars and warnings from while it ran, and widgets, which need a kernel."""
    if output.get("name") == "stderr" or WIDGET in output.get("data", {}):
        return None
    if "image/png" in output.get("data", {}):
        picture = base64.b64decode(output.data["image/png"])
        output.data["image/png"] = base64.b64encode(few_colours(picture)).decode()
    return output


def to_be_read(notebook: NotebookNode) -> NotebookNode:
    """An executed notebook without noise and without what papermill and Jupyter know of the machine."""
    known = ("kernelspec", "language_info")
    notebook.metadata = {name: notebook.metadata[name] for name in known if name in notebook.metadata}
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(without_noise, cell.outputs) if output is not None]
    return notebook


def keep_executed(run: Path, folder: Path) -> list[Path]:
    """Write the notebooks that lie in `run` to `folder`/notebooks.

    Raises:
        CalmError: there are none, or the folder cannot be written.
    """
    executed = [path for path in sorted(run.glob("*.ipynb")) if "." not in path.stem and path.stem != REPORT]
    if not executed:
        raise CalmError(f"There are no executed notebooks in {run}: run snakemake first.")
    kept = ensure_writable(folder / "notebooks")
    for path in executed:
        notebook = to_be_read(nbformat.read(path, as_version=4))
        text = nbformat.writes(notebook).replace(f"{ROOT}/", "")
        with written_whole(kept / path.name) as file:
            file.write_text(text + "\n", encoding="utf-8")
    return [kept / path.name for path in executed]


def main(arguments: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    with command():
        if len(arguments) != 2:
            raise CalmError("Call it as: python -m calm.paper.report.executed RUN figures/<profile>[/<dataset>]")
        for path in keep_executed(*map(Path, arguments)):
            print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
