"""The site: everything that was made is in it, and every link leads somewhere."""

import nbformat
import pytest
from nbformat import v4

from calm.errors import CalmError
from calm.paper.report import site
from calm.paper.report.site import main, make_site

KERNEL = {"name": "python3", "display_name": "Python 3"}


@pytest.fixture
def figures(tmp_path):
    """A profile with a report, a results table and an executed notebook; and a folder that is none."""
    folder = tmp_path / "figures" / "quick"
    (folder / "notebooks").mkdir(parents=True)
    (folder.parent / "schematics").mkdir()
    (folder / "report.html").write_text('<h1 id="top">Report</h1><a href="fig3b.csv">t</a><a href="#top">up</a>')
    (folder / "fig3b.csv").write_text("item\n")
    (folder / "fig3b.png").write_bytes(b"large")
    output = [v4.new_output("stream", text="0.123\n")]
    cells = [
        v4.new_markdown_cell("# Forecasts & more\n\nSee."),
        v4.new_code_cell("import plumbing", metadata={"tags": ["setup"]}),
        v4.new_code_cell("score()", outputs=output),
    ]
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, folder / "notebooks" / "01_simulation.ipynb")
    return folder.parent


def stand_in(folder):
    folder.mkdir()
    (folder / "index.html").write_text("<p>reference</p>")


def test_reports_and_notebooks_of_each_profile_are_linked_from_the_index(figures, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "write_reference", stand_in)
    make_site(figures, tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text()
    for page in ("api/index.html", "quick/report.html", "quick/notebooks/01_simulation.html"):
        assert f'href="{page}"' in index and (tmp_path / "site" / page).is_file()
    assert "Forecasts &amp; more" in index and "schematics" not in index
    page = (tmp_path / "site" / "quick" / "notebooks" / "01_simulation.html").read_text()
    assert "0.123" in page and "plumbing" not in page
    assert not (tmp_path / "site" / "quick" / "fig3b.png").exists()


@pytest.mark.parametrize("target", ["gone.csv", "report.html#gone", "#gone", "notebooks"])
def test_a_link_that_leads_nowhere_is_named(figures, tmp_path, monkeypatch, target):
    monkeypatch.setattr(site, "write_reference", stand_in)
    with (figures / "quick" / "report.html").open("a") as page:
        page.write(f'<a href="{target}">lost</a> <a href="https://arxiv.org">elsewhere</a>')
    with pytest.raises(CalmError, match=f"1 links lead nowhere, first quick/report.html: {target}"):
        make_site(figures, tmp_path / "site")


def test_mistakes_are_one_sentence(figures, tmp_path):
    with pytest.raises(CalmError, match="name a new folder"):
        make_site(figures, tmp_path)
    with pytest.raises(CalmError, match="run snakemake first"):
        make_site(tmp_path / "nothing", tmp_path / "site")
    with pytest.raises(SystemExit, match="Call it as"):
        main([])
