"""Names that people type: understood where they mean one thing, never taken for another."""

from pathlib import Path

import pandas as pd
import pytest

from support.clocks import a_moment
from support.runs import winit
from support.sweeps import GOOD, VOCABULARY, problems, sweep
from winit_jax.analysis.selection import PlotError, keep
from winit_jax.columns import AXES
from winit_jax.numerics.activations import activation
from winit_jax.spec.aliases import ALIASES, AS_OURS, IN_JAX, OTHERS, distance, nearest, resolve
from winit_jax.spec.problems import SpecError, did_you_mean

KNOWN = {
    "activation": VOCABULARY.activations,
    "init": VOCABULARY.inits,
    "normalization": AXES["normalization"].names,
    "dtype": AXES["dtype"].names,
    "optimizer": VOCABULARY.optimizers,
    "axis": tuple(AXES),
    "source": ("normal", "digits", "mnist5k", "mnist", "fashion_mnist"),
}


@pytest.mark.parametrize(
    ("kind", "word", "name"),
    [
        ("activation", "ReLU", "relu"),
        ("activation", "Tanh", "tanh"),
        ("activation", "GELU", "gelu"),
        ("activation", "SiLU", "silu"),
        ("activation", "Swish", "silu"),
        ("activation", "linear", "identity"),
        ("activation", "logistic", "sigmoid"),
        ("activation", "hardtanh", "hard_tanh"),
        ("activation", "Hard-Tanh", "hard_tanh"),
        ("activation", "LeakyReLU(0.2)", "leaky_relu(0.2)"),
        ("activation", "leaky relu", "leaky_relu"),
        ("activation", "ReLU()", "relu"),
        ("activation", "my.acts:Swish", "my.acts:Swish"),
        ("activation", "gelu_tanh", "gelu_tanh"),
        ("init", "kaiming_normal", "he_normal"),
        ("init", "kaiming_normal_", "he_normal"),
        ("init", "KaimingUniform", "he_uniform"),
        ("init", "glorot_uniform", "xavier_uniform"),
        ("init", "GlorotNormal", "xavier_normal"),
        ("init", "msra", "he_normal"),
        ("init", "he", "he"),
        ("normalization", "BatchNorm", "batch"),
        ("normalization", "bn", "batch"),
        ("normalization", "layer_norm", "layer"),
        ("normalization", "LN", "layer"),
        ("normalization", "None", "none"),
        ("optimizer", "Adam", "adam"),
        ("optimizer", "SGD", "sgd"),
        ("source", "Fashion-MNIST", "fashion_mnist"),
        ("axis", "sigma_w", "gain"),
        ("axis", "sigma_b", "bias_std"),
        ("axis", "lr", "learning_rate"),
        ("axis", "bias-std", "bias_std"),
    ],
)
def test_other_names_of_the_same_thing_are_understood(kind, word, name):
    assert resolve(kind, word, KNOWN[kind]) == name


def test_a_sweep_holds_the_names_that_tables_have(tmp_path):
    words = ["activation=ReLU,swish", "init=Kaiming_Normal,normal", "sigma_w=1,2", "sigma_b=0", "normalization=bn"]
    found = sweep(*words)
    assert found.grid.activation == ["relu", "silu"]
    assert found.grid.init == ["he_normal", "normal"]
    assert (found.grid.gain, found.grid.bias_std, found.grid.normalization) == ([1.0, 2.0], [0.0], ["batch"])
    assert not any(word in found.to_toml() for word in ("ReLU", "swish", "aiming", "sigma", "bn"))
    file = tmp_path / "names.toml"
    file.write_text("[grid]\nnonlinearity = 'Swish, tanh'\nsigma-w = 1\ninit = ['glorot_normal', 'Normal']\n")
    assert sweep(source=file).grid.activation == ["silu", "tanh"]
    assert sweep("std=0.1", source=file).scale_axis == "std"  # a word takes the place of the file's other scale


def test_two_names_of_one_axis_are_said_to_be_two(tmp_path):
    file = tmp_path / "twice.toml"
    file.write_text("[grid]\nactivation = 'tanh'\ngain = 1\nsigma_w = 2\n")
    assert problems(source=file) == ["grid.sigma_w: another name of gain, which is given too."]
    assert problems("activation=relu,relu", "gain=1,2,1") == [
        "grid.activation: 'relu' is given more than once; each value names one point.",
        "grid.gain: 1 is given more than once; each value names one point.",
    ]
    assert problems("activation=tanh,relu,ReLU", "init=msra,he_normal,Kaiming-normal") == [
        "grid.activation: 'relu' and 'ReLU' mean the same, 'relu'; each value names one point.",
        "grid.init: 'msra', 'he_normal' and 'Kaiming-normal' mean the same, 'he_normal'; each value names one point.",
    ]
    assert problems("activation=tanh", "sigma_w=1", "std=1")[0].startswith("grid.std: std and gain are both given")


def test_of_several_words_for_an_axis_the_last_holds_and_it_is_said():
    words = [*GOOD, "seed=0", "seed=1", "lr=1", "train.steps=5", "learning_rate=0.1", "train.steps=7"]
    found = sweep(*words)
    assert (found.grid.seed, found.grid.learning_rate, found.train.steps) == ([1], [0.1], 7)
    told = [
        "note: 'seed=1' is the last of 2 words for seed, and holds",
        "note: 'learning_rate=0.1' is the last of 2 words for learning_rate, and holds",
        "note: 'train.steps=7' is the last of 2 words for train.steps, and holds",
    ]
    assert winit("plan", *words)[1].splitlines() == told
    assert winit("plan", *GOOD)[1] == ""


@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_the_name_of_another_thing_is_never_taken_for_one_of_ours(kind):
    for word in OTHERS[kind]:
        assert resolve(kind, word, KNOWN[kind]) == word
        assert nearest(word, KNOWN[kind], kind) == []
        assert "Did you mean" not in did_you_mean(word, KNOWN[kind], kind)


@pytest.mark.parametrize(
    ("kind", "word", "names"),
    [
        ("activation", "rellu", ["relu"]),
        ("activation", "tahn", ["tanh"]),
        ("activation", "sigmod", ["sigmoid"]),
        ("activation", "swihs", ["silu"]),
        ("activation", "hard_sigmoid", []),
        ("activation", "relu7", []),
        ("activation", "belu", []),
        ("activation", "tanhh", ["tanh"]),
        ("activation", "banana", []),
        ("init", "kaimng_normal", ["he_normal"]),
        ("init", "xavier_norml", ["xavier_normal"]),
        ("init", "he", ["he_normal", "he_uniform", "he_truncated"]),
        ("init", "truncated", ["truncated_normal"]),
        ("init", "glorot", ["xavier_normal", "xavier_uniform", "xavier_truncated"]),
        ("init", "Kaiming", ["he_normal", "he_uniform", "he_truncated"]),
        ("axis", "layers", ["depth"]),
        ("normalization", "bach", ["batch"]),
        ("normalization", "group", []),
        ("optimizer", "adma", ["adam"]),
        ("optimizer", "momentum", []),
        ("axis", "depht", ["depth"]),
        ("axis", "gian", ["gain"]),
        ("axis", "bias", ["bias_std", "bias_init"]),
        ("axis", "temperature", []),
        ("source", "digit", ["digits"]),
        ("source", "kmnist", []),
        ("source", "cifar10", []),
    ],
)
def test_the_nearest_word_is_a_slip_of_the_keyboard_away_or_none(kind, word, names):
    assert nearest(word, KNOWN[kind], kind) == names


def test_a_function_that_jax_has_is_pointed_to():
    assert problems("activation=relu6", "gain=1")[0].startswith(
        "grid.activation: 'relu6' is not an activation. It can be given by import path, as jax.nn:relu6. Known: "
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(set(IN_JAX.values())))
def test_what_jax_has_can_be_given_by_its_import_path(path):
    assert activation(f"jax.nn:{path}").name == f"jax.nn:{path}"


def test_what_begins_as_one_of_ours_is_pointed_to():
    assert problems("activation=PReLU", "gain=1")[0].startswith(
        "grid.activation: 'PReLU' is not an activation. As it is usually initialized it is leaky_relu(0.25). Known: "
    )
    for name in AS_OURS.values():
        assert activation(name)


@pytest.mark.parametrize(
    ("one", "other", "far"), [("relu", "relu", 0), ("rellu", "relu", 1), ("rleu", "relu", 1), ("tanh", "relu", 3)]
)
def test_distance_counts_slips(one, other, far):
    assert min(distance(one, other, 2), 3) == far


@pytest.mark.parametrize(
    ("word", "start"),
    [
        ("seed=0:3", "grid.seed: '0:3' is not a whole number, nor a range; write int:0:3."),
        ("seed=0..3", "grid.seed: '0..3' is not a whole number, nor a range; write int:0:3."),
        ("seed=0:10:2", "grid.seed: '0:10:2' is not a whole number, nor a range; write int:0:10:2."),
        (
            "gain=0.1:10:64",
            "grid.gain: '0.1:10:64' is not a number, nor a range; write lin:0.1:10:64 or log:0.1:10:64.",
        ),
        ("samples=3", "samples: not an axis or a key. Did you mean 'inputs.samples'? Known: "),
        ("steps=3", "steps: not an axis or a key. Did you mean 'train.steps'? Known: "),
        ("train.lr=3", "train.lr: not an axis or a key. Did you mean 'learning_rate'? Known: "),
        ("measure.gradient=true", "measure.gradient: not an axis or a key. Did you mean 'measure.gradients'? Known: "),
        ("source=digits", "source: not an axis or a key. Did you mean 'inputs.source' or 'train.source'? Known: "),
    ],
)
def test_words_are_answered_with_a_word_that_works(word, start):
    (found,) = problems(*GOOD, word)
    assert found.startswith(start)


def test_options_of_the_optimizer_are_words_of_the_command_line():
    words = [*GOOD, "lr=0.1", "train.optimizer=Adam"]
    found = sweep(*words, "train.optimizer_options.b1=0.8", "train.optimizer_options.nesterov=True").train
    assert found.optimizer_options == {"b1": 0.8, "nesterov": True}
    assert problems(*words, "train.optimizer_options.b7=1")[0].startswith(
        "train.optimizer_options.b7: adam has no such option."
    )
    assert problems(*words, "train.optimizer_options.b1=high")[0].startswith("train.optimizer_options.b1")


@pytest.mark.parametrize("where", [{"nonlinearity": ["ReLU"]}, {"activation": ["relu"]}])
def test_figures_take_the_same_names(where):
    frame = pd.DataFrame({"activation": pd.Categorical(["relu", "silu"]), "gain": [1.0, 2.0]})
    assert list(keep(frame, where)["gain"]) == [1.0]
    assert list(keep(frame, {"sigma_w": ["2"], "activation": ["swish"]})["gain"]) == [2.0]
    with pytest.raises(PlotError, match="'celu' is not known"):
        keep(frame, {"activation": ["celu"]})


def test_the_docs_list_every_other_name():
    text = (Path(__file__).parents[2] / "docs" / "definitions.md").read_text(encoding="utf-8")
    for alias in ALIASES:
        if alias.name in KNOWN[alias.kind]:
            row = next(line for line in text.splitlines() if line.startswith(f"| {alias.kind} | `{alias.name}` |"))
            assert [f"`{word}`" in row for word in alias.words] == [True] * len(alias.words)


def test_a_file_of_wrong_keys_gets_ten_lines_and_a_count(tmp_path):
    file = tmp_path / "wrong.toml"
    keys = "\n".join(f"key{i} = {i}" for i in range(50_000))
    for text, place in (
        (f"[grid]\n{keys}", "grid.key0"),
        (f"{keys}\n[grid]\n", "key0"),
        (f"[inputs]\n{keys}", "inputs"),
    ):
        file.write_text(text)
        with a_moment(), pytest.raises(SpecError) as caught:
            sweep(*GOOD, source=file)
        lines = str(caught.value).splitlines()
        assert len(lines) == 12
        assert place in lines[1]
        assert lines[-1] == "  and 49,990 more"


def test_lists_of_wrong_values_are_not_read_to_their_end():
    with a_moment():
        found = problems("activation=" + ",".join(f"relu{i}x" for i in range(50_000)), "gain=" + "x," * 50_000 + "1")
    assert len(found) < 50
    assert found[-1].endswith("more values, which were not looked at.")


def test_thousands_of_dotted_words_take_no_time():
    with a_moment():
        found = problems(*GOOD, *(f"a.b{i}.c=1" for i in range(20_000)), "x" + ".y" * 20_000 + "=1")
    assert len(found) == 20_001
    assert max(map(len, found)) < 300
