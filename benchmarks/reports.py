"""Reports: how long one takes to write, how large it is, and how fast it opens and turns in a headless Chromium.

    python -m benchmarks.reports runs/phase [DIR ...]

Seconds are of `winit report` as a command, imports included. Opening is from navigation to the first map, turning from
a changed selector to the next painted frame: the median over all columns, and the slowest. It wants playwright and
chromium.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

# In the page: choose each column in turn, and milliseconds until what it drew was painted.
TURN = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  const times = [];
  for (const option of [...document.getElementById("column").options].map((each) => each.value)) {
    const select = document.getElementById("column");
    select.value = option;
    const start = performance.now();
    select.dispatchEvent(new Event("change"));
    while (`${state.sheet} ${state.column}` !== option || !grid || grid.column !== grid.sheet.columns[state.column])
      await frame();
    await frame();
    times.push(performance.now() - start);
  }
  return times;
}"""


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for run in runs:
            path = Path(folder) / f"{run.name}.html"
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "winit_jax", "report", str(run), "--out", str(path)], check=True)
            seconds = time.perf_counter() - start
            opened = []
            for _ in range(3):
                page = browser.new_page()
                page.goto(path.as_uri())
                page.wait_for_selector("html[data-drawn]", state="attached")
                opened.append(float(page.get_attribute("html", "data-drawn") or "nan"))
            # The first choice of a column unpacks it as well.
            first, again = page.evaluate(TURN), page.evaluate(TURN)
            size, shown = path.stat().st_size / 1e6, statistics.median(opened)
            print(f"{run.name}: written in {seconds:.1f} s, {size:.2f} MB; first map after {shown:.0f} ms")
            for words, times in (("first use of a column", first), ("column turned to again", again)):
                print(f"  {words}: {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
