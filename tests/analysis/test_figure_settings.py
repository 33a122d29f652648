"""How figures are wanted: styles, sizes, colors, titles and axes, captions in files, and what cannot be."""

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from support.tables import network_rows, write_run
from winit_jax.analysis import PlotError, heatmap, load, plot
from winit_jax.analysis.figures import style, words


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    frame = network_rows(("tanh",), gains=(0.5, 1.0, 2.0), seeds=(0, 1))
    return load(write_run(tmp_path_factory.mktemp("looks") / "run", frame, gain=[0.5, 1.0, 2.0], depth="int:1:4"))


def test_the_caption_stands_beside_the_figure_and_in_it(run, tmp_path):
    (path,) = plot(run.path, "heatmap", out=tmp_path / "a.png")
    caption = (tmp_path / "a.txt").read_text(encoding="utf-8").strip()
    assert "Held fixed: init normal, bias std 0, width 100" in caption
    assert Image.open(path).text["Description"] == caption
    (drawn,) = plot(run.path, "heatmap", out=tmp_path / "a.svg")
    svg = drawn.read_text(encoding="utf-8")
    assert "Held fixed: init normal" in svg
    assert "<text" in svg


def test_a_paper_has_small_letters_no_title_and_more_dots(run):
    paper, screen = (run.heatmap(style=name) for name in ("paper", "screen"))
    assert paper.get_suptitle() == ""
    assert screen.get_suptitle()
    assert paper.get_figwidth() < screen.get_figwidth()
    assert paper.settings.dots > screen.settings.dots
    assert run.heatmap(style="paper", title="Mine").get_suptitle() == "Mine"


def test_size_and_colors_are_those_asked_for(run):
    figure = run.heatmap(size=(4, 3), cmap="magma", vmin=-2, vmax=3)
    assert tuple(figure.get_size_inches()) == (4, 3)
    mesh = figure.axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax, mesh.get_cmap().name) == (-2, 3, "magma")


def test_a_panel_is_drawn_where_it_is_lent_a_place(run):
    figure, axes = plt.subplots()
    assert run.heatmap(ax=axes) is figure
    assert axes.get_xlabel()
    assert "Held fixed" in figure.caption
    plt.close(figure)


def test_what_cannot_be_is_told_all_at_once(run):
    with pytest.raises(PlotError) as caught:
        plot(run.path, "profiles", x="gain", style="papr", size="4", dpi=5, cmap="magmaa", fmt="gif")
    sentences = str(caught.value).split("\n")
    assert len(sentences) == 7
    for part in ("Did you mean 'paper'", "size: '4'", "dpi: 5", "cmap: 'magmaa'", "'gif'", "profiles take no x"):
        assert part in str(caught.value)


def test_numbers_have_true_minus_signs_and_raised_powers():
    assert [words.digits(value) for value in (-0.5, 1e-5, 3e-7, 2)] == ["−0.5", "10⁻⁵", "3×10⁻⁷", "2"]
    assert words.said("bias_std", 0.0) == "bias std 0"
    assert words.said("init", "lecun_normal") == "Xavier, 1/fan_in (lecun_normal)"


def test_ticks_of_growth_reach_to_any_limit():
    ticks = style.growth_ticks(1e9, 0.3, 5)
    assert max(ticks) >= 1e8
    assert len(ticks) <= 21


def test_maps_of_chi_name_their_phases_and_have_the_same_colors():
    frame = network_rows(("tanh",), gains=tuple(0.5 * 1.3**i for i in range(9)), depths=tuple(range(1, 8)), seeds=(0,))
    figure = heatmap(frame.assign(chi=frame["gain"]), "chi")
    assert [text.get_text() for text in figure.axes[0].texts] == ["ordered", "chaotic"]
    norm = figure.axes[0].collections[0].norm
    assert (norm.vmin, norm.vmax) == (0.1, 10)


def test_a_text_of_the_user_beside_a_figure_is_left(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match=r"notes\.txt is no caption of this figure, and was left"):
        plot(run.path, "heatmap", out=tmp_path / "notes.png")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    plot(run.path, "heatmap", out=tmp_path / "other.png")
    first = (tmp_path / "other.txt").read_text()
    plot(run.path, "heatmap", out=tmp_path / "other.png")
    assert (tmp_path / "other.txt").read_text() == first
