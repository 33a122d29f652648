"""Served pages in a real browser: the list leads to a page, and the page follows its run without losing its place."""

import subprocess
import sys

import pytest

from support.browser import a_page
from support.runs import run

pytestmark = pytest.mark.slow
WORDS = ["activation=tanh,relu", "gain=1,2", "width=4", "inputs.samples=5"]


def test_a_served_page_goes_on_with_its_run(tmp_path):
    run(tmp_path / "runs" / "one", *WORDS, "depth=1,2")
    process = subprocess.Popen(
        [sys.executable, "-m", "winit_jax", "serve", str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True
    )
    try:
        with a_page() as page:
            page.goto(process.stdout.readline().strip())
            page.click("text=one")
            page.wait_for_selector("html[data-drawn]", state="attached")
            page.select_option("#column", "networks saturated")
            assert "8 networks" in page.inner_text("header")
            run(tmp_path / "runs" / "one", *WORDS, "depth=1,2,3")
            page.wait_for_selector("text=12 networks", timeout=60_000)
            page.wait_for_selector("html[data-drawn]", state="attached")
            assert page.input_value("#column") == "networks saturated"
    finally:
        process.terminate()
        process.wait()
