"""`python -m calm.paper.report.site SITE` makes a site of reports and notebooks in figures/, and a reference of calm.

SITE is a new folder; whatever serves files can show it. Only the notebooks' pages load something from elsewhere, the
scripts that typeset equations.
"""

import html
import pkgutil
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pdoc
import pdoc.render
from nbconvert import HTMLExporter
from traitlets.config import Config

import calm
from calm.errors import CalmError, command
from calm.paper.report.web import web_page
from calm.paths import FIGURES, ROOT, ensure_writable

LEFT_OUT = shutil.ignore_patterns("*.png", "*.md", "SHA256SUMS")  # what report.html holds itself, and what is for git


class Links(HTMLParser):
    """What a page can be pointed at by, and what it points to."""

    def __init__(self, page: Path):
        super().__init__()
        self.anchors, self.targets = set[str](), set[str]()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids and links."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.targets |= {values[name] for name in ("href", "src") if name in values}


def broken_links(site: Path) -> list[str]:
    """The links within a site that lead nowhere, each after the page that has it."""
    pages = {page: Links(page) for page in site.rglob("*.html")}
    broken = []
    for page, links in pages.items():
        for target in sorted(links.targets):
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            file = (page.parent / unquote(address.path)).resolve() if address.path else page
            missing = address.fragment and file in pages and unquote(address.fragment) not in pages[file].anchors
            if not file.is_file() or missing:
                broken.append(f"{page.relative_to(site)}: {target}")
    return broken


def write_notebooks(folder: Path) -> dict[str, Path]:
    """Each executed notebook of a folder as a page beside it, without cells that only set things up; by its title."""
    hidden = {"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": ["setup", "schematic"]}}
    exporter = HTMLExporter(config=Config(hidden), template_name="lab", embed_images=True)
    pages = {}
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        text, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
        path.with_suffix(".html").write_text(text, encoding="utf-8")
        pages[notebook.cells[0].source.split("\n", 1)[0].removeprefix("# ")] = path.with_suffix(".html")
    return pages


def write_reference(folder: Path) -> None:
    """A page for each module, from its docstrings, without the folders of this machine."""
    for name in calm.__all__:
        setattr(calm, name, getattr(calm, name))  # loaded when used, which pdoc does not do
    rooms = [f"calm.{module.name}" for module in pkgutil.iter_modules(calm.__path__)]
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("calm", *rooms, output_directory=folder)
    for page in (*folder.rglob("*.html"), folder / "search.js"):
        page.write_text(page.read_text(encoding="utf-8").replace(f"{ROOT}/", ""), encoding="utf-8")


def make_site(figures: Path, site: Path) -> None:
    """Write the pages of all profiles with a report, the reference, and an index of them.

    Raises:
        CalmError: the folder is not new, there is no report, or a link leads nowhere.
    """
    if site.exists():
        raise CalmError(f"{site} is there already: name a new folder.")
    profiles = [path.parent for path in sorted(figures.glob("*/report.html"))]
    if not profiles:
        raise CalmError(f"There is no report in {figures}: run snakemake first.")
    lines = ["# calm", "A reproducible companion to CalM (arXiv 2604.04958).", "", "- [Reference](api/index.html)"]
    ensure_writable(site)
    for profile in profiles:
        shutil.copytree(profile, site / profile.name, ignore=LEFT_OUT)
        lines += ["", f"## Profile {profile.name}", "", f"- [Report]({profile.name}/report.html)"]
        pages = write_notebooks(site / profile.name / "notebooks")
        lines += [f"- [{html.escape(title)}]({page.relative_to(site)})" for title, page in pages.items()]
    write_reference(site / "api")
    (site / "index.html").write_text(web_page("\n".join(lines), site), encoding="utf-8")
    if broken := broken_links(site):
        raise CalmError(f"{len(broken)} links lead nowhere, first {broken[0]}.")


def main(arguments: list[str]) -> None:
    """Command line; a user's mistake ends with one sentence and exit status 1."""
    with command():
        if len(arguments) != 1:
            raise CalmError("Call it as: python -m calm.paper.report.site SITE")
        make_site(FIGURES, Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
