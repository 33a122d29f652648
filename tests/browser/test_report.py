"""The report in a real browser: what it says of a cell is what the tables say, by mouse, keys and address."""

import numpy as np
import pytest

import winit_jax as winit
from support.browser import a_page, opened, place_of
from support.runs import run

pytestmark = pytest.mark.slow
GAINS = [0.5, 1.0, 2.0, 4.0]
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "run"
    words = ["activation=tanh,relu", "gain=0.5,1,2,4", "depth=int:1:6", "width=16", "seed=int:0:2", "inputs.samples=30"]
    run(folder, *words, "measure.histogram.bins=8", "measure.histogram.low=-1", "measure.histogram.high=1")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "trained"
    words = ["activation=relu", "init=he_normal,xavier_normal", "depth=2", "width=8", "seed=0,1"]
    run(folder, *words, "inputs.source=digits", "inputs.samples=60", "train.steps=20", "learning_rate=0.1")
    return folder


@pytest.fixture
def page():
    with a_page(bypass_csp=True) as page:
        yield page


def of_cell(folder, activation, gain, depth, column="log10_act_rms"):
    networks = winit.load(folder).networks
    rows = networks[(networks["activation"] == activation) & (networks["depth"] == depth)]
    return rows[np.isclose(rows["gain"], gain)][column]


def written(value):
    return f"{value:.4g}".replace("-", "−")


def test_hovering_reads_the_number_of_the_table(folder, page):
    opened(page, winit.load(folder).report())
    page.select_option("#at-activation", "0")
    page.mouse.move(*place_of(page, 2, 3))
    tip = page.inner_text("#tip")
    cell = of_cell(folder, "tanh", GAINS[2], 4)
    assert "tanh" in tip
    assert f"log₁₀ RMS activation: {written(cell.median())}" in tip
    assert f"seeds from {written(cell.min())} to {written(cell.max())}" in tip
    predicted = of_cell(folder, "tanh", GAINS[2], 4, "theory_log10_act_rms").iloc[0]
    z = (cell.mean() - predicted) / (cell.std() / np.sqrt(3))
    assert f"mean field {written(predicted)}; z {written(z)[:4]}" in tip.replace("\n", "; ")


def test_a_click_chooses_a_cell_and_shows_its_layers(folder, page):
    opened(page, winit.load(folder).report())
    page.select_option("#at-activation", "1")
    page.mouse.click(*place_of(page, 3, 5))
    assert written(of_cell(folder, "relu", GAINS[3], 6).median()) in page.inner_text("#reading-value")
    layers = winit.load(folder).layers
    rows = layers[(layers["activation"] == "relu") & np.isclose(layers["gain"], GAINS[3])]
    medians = rows.groupby("layer")["log10_act_rms"].median()
    page.wait_for_function("models.profileData.data.median.length === 6")
    drawn = page.evaluate("Array.from(models.profileData.data.median)")
    np.testing.assert_allclose(drawn, medians, rtol=1e-6)


def test_a_network_of_a_depth_shows_the_layers_up_to_it(folder, page):
    opened(page, winit.load(folder).report())
    page.mouse.click(*place_of(page, 1, 2))
    page.wait_for_function("models.profileData.data.layer.length === 3")


def test_arrow_keys_choose_cells(folder, page):
    opened(page, winit.load(folder).report())
    page.select_option("#at-activation", "0")
    page.mouse.click(*place_of(page, 1, 1))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert written(of_cell(folder, "tanh", GAINS[2], 3).median()) in page.inner_text("#reading-value")


def test_the_address_brings_back_what_was_looked_at(folder, page):
    report = winit.load(folder).report()
    opened(page, report)
    page.select_option("#column", "networks saturated")
    page.select_option("#at-activation", "0")
    page.mouse.click(*place_of(page, 0, 4))
    said, address = page.inner_text("#reading"), page.evaluate("location.hash")
    opened(page, report, address)
    assert page.inner_text("#reading") == said
    assert page.input_value("#column") == "networks saturated"


def test_an_address_that_says_nonsense_shows_the_usual_page(folder, page):
    report = winit.load(folder).report()
    usual = opened(page, report).inner_text("#reading")
    assert opened(page, report, "#table=nothing&column=<b>&gain=7&show=z&x=a&y=a").inner_text("#reading") != ""
    assert opened(page, report, "#table=nothing&column=<b>").inner_text("#reading") == usual


def test_every_choice_of_every_selector_draws(folder, page):
    opened(page, winit.load(folder).report())
    for select in ("column", "show", "x", "y"):
        for value in page.eval_on_selector_all(f"#{select} option", "options => options.map((o) => o.value)"):
            page.select_option(f"#{select}", value)
            page.wait_for_timeout(20)
    assert page.inner_text("#reading-value")


@pytest.mark.parametrize("kind", ["saturated", "log10_act_rms", "input_correlation"])
def test_colors_are_those_of_the_figures(folder, page, kind):
    from winit_jax.analysis.figures.style import color_scale

    points = winit.load(folder).networks.groupby(["activation", "gain", "depth"], observed=True)[kind].median()
    norm, _, _ = color_scale(kind, points.to_numpy())
    opened(page, winit.load(folder).report())
    numbers = [float(x) for x in np.linspace(norm.vmin, norm.vmax, 9)]
    script = "([name, numbers]) => numbers.map((x) => fraction(report.maps[0].columns[name].scale, x))"
    np.testing.assert_allclose(page.evaluate(script, [kind, numbers]), norm(numbers), atol=1e-9)


def test_the_histogram_of_a_layer_counts_what_the_table_counts(folder, page):
    opened(page, winit.load(folder).report())
    page.select_option("#at-activation", "0")
    page.mouse.click(*place_of(page, 0, 5))
    histograms = winit.load(folder).histograms
    rows = histograms[(histograms["activation"] == "tanh") & np.isclose(histograms["gain"], 0.5)]
    first = rows[rows["layer"] == 1]
    counts = first.groupby("bin_low")["count"].sum()
    inside = first[np.isfinite(first["bin_low"]) & np.isfinite(first["bin_high"])].groupby("bin_low")["count"].sum()
    page.wait_for_function("models.histogramData.data.top.length === 8")
    np.testing.assert_allclose(page.evaluate("models.histogramData.data.top"), inside / counts.sum(), rtol=1e-6)


def test_training_curves_are_those_of_the_table(trained, page):
    opened(page, winit.load(trained).report())
    training = winit.load(trained).training
    first = training[training["init"] == training["init"].cat.categories[0]]
    medians = training.groupby(["init", "step"], observed=True)["train_loss"].median()
    page.wait_for_function("models.curvesData.data.ys.length === 2")
    drawn = page.evaluate("models.curvesData.data.ys.map((line) => Array.from(line))")
    names = page.eval_on_selector_all("#curves-legend li", "items => items.map((item) => item.textContent)")
    for name, line in zip(names, drawn, strict=True):
        np.testing.assert_allclose(line, medians[name], rtol=1e-6)
    assert len(drawn[0]) == first["step"].nunique()


def test_names_are_text_and_never_a_script(tmp_path, page):
    folder = tmp_path / "hostile"
    run(folder, "activation=tanh", "gain=1,2", "depth=1,2", "width=4", "inputs.samples=5", f"title={HOSTILE}")
    opened(page, winit.load(folder).report())
    assert page.inner_text("h1") == HOSTILE
    assert page.title() == HOSTILE


def test_assistive_technology_finds_nothing_serious(folder, trained, page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for path in (folder, trained):
        opened(page, winit.load(path).report())
        found = axe.run(page).response["violations"]
        serious = {each["id"]: each["nodes"] for each in found if each["impact"] in ("serious", "critical")}
        assert serious == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colors(folder, scheme):
    with a_page(viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        opened(page, winit.load(folder).report())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
        assert page.evaluate("models.mapX.axis_label_text_color") == ("#1c2128" if scheme == "light" else "#e6edf3")
