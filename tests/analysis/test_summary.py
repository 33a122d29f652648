"""What is said of a run at its end: shares of regimes, gains at which gradients pass, and the init that won."""

import pytest

import winit_jax as winit
from support.runs import run
from support.runs import winit as command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found") / "run"
    words = ["activation=relu", "gain=0.5,1,1.4142135623730951,2,4", "depth=int:1:12", "width=32", "seed=int:0:3"]
    run(folder, *words, "inputs.samples=20")
    return folder


def test_shares_of_regimes_are_those_of_the_networks(folder):
    loaded = winit.load(folder)
    regimes = loaded.regimes()["regime"]
    sentence = loaded.found()[0]
    assert f"Of {len(regimes)} networks" in sentence
    assert f"{100 * (regimes == 'healthy').mean():.0f}% are healthy" in sentence
    assert f"{100 * (regimes == 'vanishing').mean():.0f}% vanish" in sentence


def test_the_gain_that_lets_gradients_through_stands_beside_the_critical_one(folder):
    networks = winit.load(folder).networks
    deepest = networks[networks["depth"] == 12]
    best = deepest.groupby("gain")["log10_jacobian"].median().abs().idxmin()
    assert winit.load(folder).found()[1] == (
        f"At depth 12 the Jacobian stays nearest to 1 at a gain of {best:.3g} for relu (mean field: 1.41)."
    )


def test_counts_of_regimes_are_those_of_every_network(folder):
    from winit_jax.analysis import summary

    loaded = winit.load(folder)
    counted = summary.counts(loaded).set_index(["activation", "init", "regime"])["networks"]
    wanted = loaded.regimes().groupby(["activation", "init", "regime"], observed=True).size()
    assert counted[counted > 0].to_dict() == wanted.to_dict()
    assert counted.sum() == len(loaded.networks)


def test_of_many_activations_the_rest_is_counted():
    from winit_jax.analysis.summary import MOST_NAMED, _few

    names = [str(number) for number in range(MOST_NAMED + 3)]
    assert _few(names) == [*names[:MOST_NAMED], "3 more"]
    assert _few(names[:MOST_NAMED]) == names[:MOST_NAMED]


def test_a_run_ends_with_what_was_found(folder):
    stderr = command("run", "--out", folder, *WORDS_OF_THE_SAME)[1]
    assert [line for line in stderr.splitlines() if line.startswith("found: ")] == [
        f"found: {sentence}" for sentence in winit.load(folder).found()
    ]


WORDS_OF_THE_SAME = ["activation=relu", "gain=0.5,1,1.4142135623730951,2,4", "depth=int:1:12", "width=32"]
WORDS_OF_THE_SAME += ["seed=int:0:3", "inputs.samples=20"]


@pytest.mark.parametrize(
    ("share", "words"), [(0.004, "less than 1%"), (0.5, "50%"), (0.996, "more than 99%"), (1, "100%")]
)
def test_a_share_that_is_there_is_never_said_to_be_none(share, words):
    from winit_jax.analysis.summary import _percent

    assert _percent(share) == words


def test_the_best_init_is_named_with_its_interval(tmp_path):
    from winit_jax.analysis.statistics.ranking import best_learning_rate

    words = ["activation=relu", "init=he_normal,zeros", "depth=3", "width=16", "seed=int:0:2", "learning_rate=0.1"]
    run(tmp_path / "run", *words, "inputs.source=digits", "inputs.samples=50", "train.steps=40")
    loaded = winit.load(tmp_path / "run")
    best = best_learning_rate(loaded.networks).sort_values("mean").iloc[-1]
    sentence = loaded.found()[-1]
    assert best["init"] == "he_normal"
    assert f"is {best['mean']:.3f} (95% interval {best['low']:.3f} to {best['high']:.3f}), of he_normal" in sentence
