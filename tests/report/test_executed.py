"""Executed notebooks to be read: outputs kept, noise and machine left out."""

import base64
import io

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from calm.errors import CalmError
from calm.paper.report import executed
from calm.paper.report.executed import keep_executed

KERNEL = {"name": "python3", "display_name": "Python 3"}


def png(shade):
    data = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


@pytest.fixture
def run(tmp_path):
    """One notebook with a figure, a table, a progress bar and a path; one unfinished; the report."""
    outputs = [
        v4.new_output("stream", name="stderr", text="quantizer: 10%"),
        v4.new_output("stream", name="stdout", text=f"read {executed.ROOT}/data/a.nwb\n"),
        v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox()"}),
        v4.new_output("display_data", data={"image/png": png(200), "text/plain": "<Figure>"}),
        v4.new_output("execute_result", data={"text/html": "<table></table>"}, execution_count=1),
    ]
    code = v4.new_code_cell("1 + 1", outputs=outputs, metadata={"papermill": {"duration": 1.0}, "tags": ["parameters"]})
    metadata = {
        "papermill": {"output_path": f"{executed.ROOT}/runs/x.ipynb"},
        "kernelspec": {"name": "python3", "display_name": "3"},
    }
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A"), code], metadata=metadata)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("01_simulation.ipynb", "02_tokenizer.unfinished.ipynb", "09_report.ipynb"):
        nbformat.write(notebook, folder / name)
    return folder


def test_what_a_reader_wants_is_kept_and_nothing_tells_of_the_machine(run, tmp_path):
    (kept,) = keep_executed(run, tmp_path / "figures")
    assert kept == tmp_path / "figures" / "notebooks" / "01_simulation.ipynb"
    notebook = nbformat.read(kept, as_version=4)
    nbformat.validate(notebook)
    assert str(executed.ROOT) not in kept.read_text() and "papermill" not in kept.read_text()
    _, code = notebook.cells
    printed, figure, table = code.outputs
    assert printed.text == "read data/a.nwb\n" and table.data["text/html"] == "<table></table>"
    with Image.open(io.BytesIO(base64.b64decode(figure.data["image/png"]))) as picture:
        assert picture.mode == "P" and picture.size == (30, 20)
        assert picture.convert("RGB").getpixel((3, 3)) == (200, 200, 200)
    assert code.metadata == {"tags": ["parameters"]} and code.source == "1 + 1"


def test_a_run_without_notebooks_is_one_sentence(tmp_path, capsys):
    with pytest.raises(CalmError, match="run snakemake first"):
        keep_executed(tmp_path, tmp_path / "figures")
    with pytest.raises(SystemExit, match="Call it as"):
        executed.main([])
