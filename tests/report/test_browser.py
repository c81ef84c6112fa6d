"""A reader's browser: JupyterLab shows another picture for another trial, and another figure for other knobs."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, to drive a browser")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not BROWSER, reason="there is no browser to drive")]
TESTS = Path(__file__).parents[1]
NOTEBOOK = TESTS.parent / "notebooks" / "04_forecasting.ipynb"
CODE = """
import sys
sys.path.insert(0, {tests!r})
import calm
from linear_systems import noise_free_session
sessions = [noise_free_session(neurons=4, trials=30, frames=20)]
model = calm.CalM.pretrain(sessions, "smoke forecast.context=8")
calm.explore(model, sessions)
"""
WAIT = 180_000  # milliseconds; a busy machine is no mistake
PICTURES = ".jp-OutputArea-output img[src^='data:image/png']"  # drawings are SVG


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab in a folder of two notebooks: one of the paper's, one with code in its only cell."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(CODE.strip().format(tests=str(TESTS)))], metadata=kernel)
    nbformat.write(notebook, tmp_path / "explore.ipynb")
    shutil.copy(NOTEBOOK, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--port-retries=0", "--IdentityProvider.token=", "--allow-root"]
    environment = os.environ | {"CALM_ROOT": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    command = [sys.executable, "-m", "jupyterlab", *options]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        yield f"http://127.0.0.1:{port}/lab/tree"
        server.terminate()
        server.wait()


@pytest.fixture
def page():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1300, "height": 1000})
        browser.close()


def visit(page, address):
    """Open a notebook as soon as the server answers."""
    for _ in range(60):
        try:
            page.goto(address)
            break
        except playwright.Error:
            page.wait_for_timeout(1000)
    page.locator(".jp-Notebook .jp-Cell").first.click(timeout=WAIT)


def another_picture(page, before=None):
    """Wait until the first picture is not the one that was there before; returns it."""
    changed = "([pictures, before]) => ![before, undefined].includes(document.querySelector(pictures)?.src)"
    page.wait_for_function(changed, arg=[PICTURES, before], timeout=WAIT)
    return page.locator(PICTURES).first.get_attribute("src")


def first_figure(page, profile, before=None):
    """Write a profile into the cell of parameters, run all cells, and wait for the first figure that is another one."""
    page.locator(".jp-CodeCell .cm-line", has_text="profile: str").click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.type(f'profile: str = "{profile}"')
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells").click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    return another_picture(page, before)


def test_another_trial_is_another_picture(lab, page):
    visit(page, f"{lab}/explore.ipynb")
    page.keyboard.press("Shift+Enter")
    before = another_picture(page)
    handle = page.locator(".widget-slider .noUi-handle").first
    handle.wait_for(timeout=WAIT)
    handle.focus()
    page.keyboard.press("ArrowRight")
    another_picture(page, before)
    assert page.locator(".jp-OutputArea-output img").count() == 1  # in place of the first one


def test_two_other_knobs_are_another_figure(lab, page, tmp_path):
    visit(page, f"{lab}/{NOTEBOOK.name}")
    before = first_figure(page, "smoke")
    first_figure(page, "smoke dat.layers=2 dat_fit.steps=80", before)
    assert len(list(tmp_path.glob("figures/smoke*/fig3c.png"))) == 2  # and each is kept
