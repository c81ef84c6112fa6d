"""A reader's browser: JupyterLab runs a notebook with calm.explore, and another trial is another picture."""

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


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab that shows one notebook, whose code lies in its only cell."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(CODE.strip().format(tests=str(TESTS)))], metadata=kernel)
    nbformat.write(notebook, tmp_path / "explore.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--port-retries=0", "--IdentityProvider.token=", "--allow-root"]
    environment = os.environ | {"CALM_ROOT": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    command = [sys.executable, "-m", "jupyterlab", *options]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        yield f"http://127.0.0.1:{port}/lab/tree/explore.ipynb"
        server.terminate()
        server.wait()


def test_another_trial_is_another_picture(lab):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        for _ in range(60):  # until the server answers
            try:
                page.goto(lab)
                break
            except playwright.Error:
                page.wait_for_timeout(1000)
        page.locator(".jp-Notebook .jp-Cell").first.click(timeout=WAIT)
        page.keyboard.press("Shift+Enter")
        picture = page.locator(".jp-OutputArea-output img").last
        picture.wait_for(timeout=WAIT)
        before = picture.get_attribute("src")
        handle = page.locator(".widget-slider .noUi-handle").first
        handle.wait_for(timeout=WAIT)
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "before => [...document.querySelectorAll('.jp-OutputArea-output img')].at(-1).src != before",
            arg=before,
            timeout=WAIT,
        )
        assert page.locator(".jp-OutputArea-output img").count() == 1  # in place of the first one
        browser.close()
