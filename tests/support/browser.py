"""A headless Chromium, where the system and this environment have one."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@contextmanager
def a_page(**context):
    """An empty page of its own; the test is left out where there is no browser. context: as of Playwright's."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(**context).new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("dialog", lambda dialog: page.problems.append(f"a dialog: {dialog.message}") or dialog.dismiss())
        page.on("request", lambda request: outside(request.url, page))
        yield page
        assert page.problems == []
        browser.close()


def outside(url, page):
    """A page that asks the network for anything is no page that one can send."""
    if not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
        page.problems.append(f"asked for {url}")


def opened(page, path, state=""):
    """Open a report and wait until its map is drawn."""
    page.goto("about:blank")
    page.goto(f"{path if str(path).startswith('http') else path.as_uri()}{state}")
    page.wait_for_selector("html[data-drawn]", state="attached")
    page.wait_for_timeout(150)
    return page


def place_of(page, across, up):
    """Where the cell at these places of the map stands in the window: (x, y) in pixels."""
    script = """([across, up]) => {
        const view = Bokeh.index.find_one(models.map);
        const {left, top} = view.el.getBoundingClientRect();
        return [left + view.frame.x_scale.compute(across), top + view.frame.y_scale.compute(up)];
    }"""
    return page.evaluate(script, [across, up])
