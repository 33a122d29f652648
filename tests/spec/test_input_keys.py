"""Keys of inputs and training data: what goes together, and a sentence for what does not."""

import numpy as np
import pytest

from support.pages import ROOT
from support.sweeps import GOOD, VOCABULARY, problems, sweep
from winit_jax.spec.json_schema import json_schema
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sources import TEXT_POSITIONS, TEXT_WINDOWS
from winit_jax.spec.sweep import Inputs


@pytest.fixture
def text(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(2000))
    return tmp_path / "a.txt"


@pytest.fixture
def images(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3, 3)), y=np.arange(4))
    return tmp_path / "a.npz"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("positions=0", "positions: 0 is neither a number of positions (from 1 to 1,000,000) nor a way to cut"),
        ("positions=1000001", "positions: 1000001 is neither a number of positions (from 1 to 1,000,000) nor"),
        ("positions=1.5", "positions: 1.5 is neither a number of positions (from 1 to 1,000,000) nor a way"),
        ("positions=true", "positions: True is neither a number of positions (from 1 to 1,000,000) nor a way"),
        ("positions=[3]", "positions: [3] is neither a number of positions (from 1 to 1,000,000) nor a way"),
        (
            "positions=row",
            "positions: 'row' is neither a number of positions (from 1 to 1,000,000) nor a way to cut images into "
            "them. Did you mean 'rows'? Known: pixels, rows.",
        ),
        ("positions=rows", "positions: 'rows' cuts images; of source = 'normal' say how many there are."),
        ("correlation=1.5", "correlation: 1.5 is more than 1.0."),
        ("correlation=-1.5", "correlation: -1.5 is less than -1.0."),
        ("correlation=nan", "correlation: nan is not a finite number."),
        ("correlation=much", "correlation: 'much' is not a number."),
        (
            "samples=5 inputs.correlation=-0.2501",
            "correlation: -0.2501 is less than -1/4; no 5 samples are so unlike one another.",
        ),
        ("samples=1 inputs.correlation=0.5", "correlation: there are no two samples to have it; say inputs.samples, 2"),
        (
            "position_correlation=0.5",
            "position_correlation: there are no two positions to have it; say inputs.positions, 2 or more.",
        ),
        (
            "positions=3 inputs.position_correlation=-0.6",
            "position_correlation: -0.6 is less than -1/2; no 3 positions are so unlike one another.",
        ),
        ("exact_correlation=1", "exact_correlation: 1 is not true or false."),
        (
            "samples=8 inputs.exact_correlation=true width=7,9",
            "exact_correlation: 8 samples need at least 8 features, and the least width is 7; raise inputs.features or "
            "lower inputs.samples.",
        ),
        (
            "samples=8 inputs.positions=2 inputs.features=15 inputs.exact_correlation=true width=7,9",
            "exact_correlation: 8 samples of 2 positions need at least 16 features, and there are 15; raise",
        ),
        ("encoding=one_hot", "encoding: only of a text; take it away."),
        ("encoding=one-hot", "encoding: 'one-hot' is not allowed. Did you mean 'one_hot'? Known: one_hot, random."),
        ("standardize=true", "standardize: source = 'normal' has mean 0 and variance 1 already."),
        ("source=digits inputs.correlation=0.5", "correlation: only of source = 'normal'; take it away."),
        ("source=digits inputs.exact_correlation=true", "exact_correlation: only of source = 'normal'; take it away."),
        ("source=digits inputs.features=3", "features: source = 'digits' fixes the features; take it away."),
        (
            "source=digits inputs.positions=8",
            "positions: source = 'digits' fixes how many there are; say 'rows' or 'pixels', or take it away.",
        ),
        ("source=digits inputs.encoding=random", "encoding: only of a text; take it away."),
    ],
)
def test_a_wrong_key_gets_a_sentence(words, sentence):
    (found,) = problems(*GOOD, *f"inputs.{words}".split())
    assert found.startswith(f"inputs.{sentence}")


@pytest.mark.parametrize(
    "words",
    [
        "samples=5 inputs.correlation=-0.25",
        "samples=4 inputs.correlation=-0.3333333333333333",
        "positions=2 inputs.position_correlation=-1",
        "correlation=1",
        "samples=8 inputs.exact_correlation=true width=8,9",
        "samples=8 inputs.positions=2 inputs.features=16 inputs.exact_correlation=true width=2",
        "source=digits inputs.positions=pixels",
    ],
)
def test_the_bounds_themselves_are_allowed(words):
    assert sweep(*GOOD, *f"inputs.{words}".split()).inputs.source in ("normal", "digits")


@pytest.mark.parametrize("mark", ["", "text:"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("positions=rows", "inputs.positions: 'rows' cuts images; of a text say how many bytes a window has."),
        ("features=3", "inputs.features: one-hot bytes have 256; take it away, or say encoding = 'random'."),
        ("standardize=true", "inputs.standardize: a text has no values before it is encoded; take it away."),
        ("position_correlation=0.5", "inputs.position_correlation: only of source = 'normal'; take it away."),
        (
            "encoding=random width=inf,3",
            "inputs.features: missing; at infinite width a random encoding takes a number of features.",
        ),
    ],
)
def test_a_wrong_key_of_a_text_gets_a_sentence(text, mark, words, sentence):
    assert problems(*GOOD, f"inputs.source={mark}{text}", *f"inputs.{words}".split()) == [sentence]


def test_a_text_that_is_not_there_gets_a_sentence():
    assert problems(*GOOD, "inputs.source=text:nothing") == ["inputs.source: 'nothing' is no file."]
    assert problems(*GOOD, "inputs.source=text:") == ["inputs.source: '' is no file."]


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (
            ["source=digits", "positions=4", "encoding=random", "features=3"],
            [
                "features: source = 'digits' fixes the features; take it away.",
                "positions: source = 'digits' fixes how many there are; say 'rows' or 'pixels', or take it away.",
                "encoding: only of a text; take it away.",
            ],
        ),
        (
            ["source={text}", "positions=pixels", "features=3", "standardize=true"],
            [
                "positions: 'pixels' cuts images; of a text say how many bytes a window has.",
                "features: one-hot bytes have 256; take it away, or say encoding = 'random'.",
                "standardize: a text has no values before it is encoded; take it away.",
            ],
        ),
    ],
)
def test_every_wrong_key_of_training_data_is_told_once_and_all_together(text, words, sentences):
    found = problems(*GOOD, *(f"train.{word.format(text=text)}" for word in words))
    assert found == [f"train.{sentence}" for sentence in sentences]


def test_all_problems_of_inputs_are_told_at_once():
    words = ["inputs.positions=rows", "inputs.encoding=random", "inputs.standardize=true", "gain=-1"]
    assert [problem.split(":")[0] for problem in problems("activation=tanh", *words)] == [
        "grid.gain",
        "inputs.standardize",
        "inputs.encoding",
        "inputs.positions",
    ]


def test_paths_of_texts_start_at_the_sweep_file(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text("[grid]\nactivation = 'tanh'\ngain = 1\n[inputs]\nsource = 'text:a.txt'\n")
    assert sweep(source=path).inputs.source == f"text:{text}"


def test_networks_are_measured_on_the_text_and_the_images_that_they_learn(text, images):
    of_text = [f"train.source={text}", "train.positions=9", "train.encoding=random", "train.features=5", "train.seed=3"]
    inputs = sweep(*GOOD, *of_text).inputs
    keys = (inputs.source, inputs.positions, inputs.encoding, inputs.features, inputs.seed)
    assert keys == (str(text), 9, "random", 5, 3)
    assert sweep(*GOOD, *of_text[:3]).inputs.features == 256
    assert sweep(*GOOD, *of_text, "inputs.positions=4", "inputs.seed=1").inputs.positions == 4
    assert sweep(*GOOD, f"train.source={images}", "train.positions=rows").inputs.positions == "rows"
    # Other inputs than those that are learnt keep their own keys.
    inputs = sweep(*GOOD, *of_text, "inputs.source=normal", "inputs.positions=2", "inputs.correlation=0.5").inputs
    assert (inputs.positions, inputs.encoding, inputs.features) == (2, None, None)


@pytest.mark.parametrize(
    "words",
    [
        ["inputs.positions=16", "inputs.correlation=0.5", "inputs.position_correlation=-0.05"],
        ["inputs.source=digits", "inputs.positions=rows"],
        ["inputs.source={text}", "inputs.positions=8", "inputs.encoding=random"],
        ["train.source={text}", "train.positions=8", "train.encoding=random", "train.features=7"],
    ],
)
def test_these_keys_survive_the_way_through_toml(tmp_path, text, words):
    once = sweep(*GOOD, *(word.format(text=text) for word in words))
    (tmp_path / f"{once.name}.toml").write_text(once.to_toml())
    again = sweep(source=tmp_path / f"{once.name}.toml")
    assert (again.inputs, again.train) == (once.inputs, once.train)


def test_python_values_are_the_same_keys():
    given = {"activation": "tanh", "gain": 1, "inputs": {"positions": np.int64(4), "correlation": np.float64(0.5)}}
    inputs = load_sweep(None, (), VOCABULARY, [given]).inputs
    assert (inputs.positions, inputs.correlation) == (4, 0.5)


def test_more_activations_than_can_be_counted_are_those_of_all_positions():
    (found,) = problems(*GOOD, "inputs.samples=1000", "inputs.positions=1100", "width=1000")
    assert found == (
        "inputs.samples: 1,000 samples of 1,100 positions through 1,000 units are 1,100,000,000 activations a layer; "
        "1,073,741,824 can be counted."
    )


def test_the_json_schema_says_what_positions_are():
    tables = json_schema(VOCABULARY)["$defs"]
    for table in ("inputs", "train"):
        assert {"type": "integer", "minimum": 1, "maximum": 1_000_000} in tables[table]["properties"]["positions"][
            "anyOf"
        ]
        assert {"enum": ["rows", "pixels"], "type": "string"} in tables[table]["properties"]["positions"]["anyOf"]
        assert all("description" in tables[table]["properties"][key] for key in ("positions", "encoding", "features"))
    assert tables["inputs"]["properties"]["correlation"]["minimum"] == -1


def test_the_page_of_definitions_has_every_key_of_inputs_and_the_defaults_of_texts():
    page = (ROOT / "docs" / "definitions.md").read_text()
    section = page[page.index("| key of `[inputs]`") : page.index("### Positions")]
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(Inputs.model_fields)
    assert f"of a text {TEXT_POSITIONS}" in section
    assert "up to {:,} and {:,}.".format(*TEXT_WINDOWS) in page
