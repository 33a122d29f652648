"""Sweep files and words: what is read, what is refused, and the exact sentences."""

import json
import os
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clocks import a_moment
from support.sweeps import GOOD, VOCABULARY, problems, sweep
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.spec.axes import MAX_AXIS, AxisError, expand_range
from winit_jax.spec.catalog import names, titles
from winit_jax.spec.difference import difference
from winit_jax.spec.files import MAX_BYTES
from winit_jax.spec.json_schema import json_schema
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import MAX_NETWORKS


def file(tmp_path, text, name="phase.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ranges_include_both_ends():
    assert expand_range("lin:0:1:5", whole=False) == [0, 0.25, 0.5, 0.75, 1]
    assert expand_range("int:1:5", whole=True) == [1, 2, 3, 4, 5]
    assert expand_range("int:1:10:4", whole=True) == [1, 5, 9]
    assert expand_range("tanh", whole=False) is None


def test_log_ranges_have_equal_ratios_and_exact_ends():
    values = expand_range("log:0.1:10:64", whole=False)
    assert (values[0], values[-1], len(values)) == (0.1, 10.0, 64)
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(100) / 63, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("log:0:10:5", "'log:0:10:5': both ends of a log range must be greater than 0."),
        ("lin:0:1", "'lin:0:1' is not lin:START:STOP:NUM."),
        ("lin:0:1:0", "'lin:0:1:0': NUM must be at least 1."),
        ("lin:0:1:1", "'lin:0:1:1': one value cannot include both ends; NUM must be at least 2."),
        ("int:5:1", "'int:5:1': STOP is less than START."),
        ("int:1:5:0", "'int:1:5:0': the step must be at least 1."),
        ("int:1:x", "'int:1:x': 'x' is not a whole number."),
        ("lin:0:nan:3", "'lin:0:nan:3': 'nan' is not finite."),
        ("int:1:1000000000000", f"'int:1:1000000000000' has 1,000,000,000,000 values; an axis may have {MAX_AXIS:,}."),
    ],
)
def test_a_wrong_range_gets_a_sentence(text, sentence):
    with pytest.raises(AxisError) as caught:
        expand_range(text, whole=False)
    assert str(caught.value) == sentence


def test_the_command_line_of_the_design_works_as_it_stands():
    words = ["activation=tanh,relu", "gain=log:0.1:10:64", "depth=int:1:50", "width=100", "seed=int:0:3"]
    assert sweep(*words).n_networks == 2 * 64 * 50 * 4


def test_every_problem_is_reported_at_once_with_its_place(tmp_path):
    path = file(
        tmp_path,
        """
        [grid]
        activation = ["tanh", "rellu"]
        gain = 1.0
        depth = 0
        [inputs]
        sampels = 10
        """,
    )
    with pytest.raises(SpecError) as caught:
        sweep(source=path)
    known = ", ".join(sorted(VOCABULARY.activations))
    assert str(caught.value) == (
        "phase.toml: 3 problems\n"
        f"  inputs.sampels: not a key of this table. Did you mean 'samples'? "
        "Known: correlation, encoding, exact_correlation, features, position_correlation, positions, samples, seed, "
        "source, standardize.\n"
        f"  grid.activation[1]: 'rellu' is not an activation. Did you mean 'relu'? Known: {known}.\n"
        "  grid.depth: 0 is less than 1."
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*GOOD, "std=1"], "grid.std: std and gain are both given; they scale the same weights, so give one."),
        (["activation=tanh"], "grid: init 'normal' is scaled by std or gain, and neither is given."),
        (["gain=1"], "grid.activation: missing; name at least one, for example tanh."),
        (["activation=tanh", "gain=-1"], "grid.gain: -1 is less than 0."),
        (["activation=tanh", "gain=nan"], "grid.gain: nan is not finite."),
        (["activation=tanh", "gain=1,1"], "grid.gain: 1 is given more than once; each value names one point."),
        (
            ["activation=tanh", "gain=fast"],
            "grid.gain: 'fast' is not a number, nor a range (lin:START:STOP:NUM, log:START:STOP:NUM or "
            "int:START:STOP[:STEP]).",
        ),
        ([*GOOD, "width=0"], "grid.width: 0 is less than 1."),
        ([*GOOD, "width=1.5"], "grid.width: 1.5 is not a whole number."),
        ([*GOOD, "width=10000000"], "grid.width: 10,000,000 is more than 65,536."),
        ([*GOOD, "seed=-1"], "grid.seed: -1 is less than 0."),
        ([*GOOD, "seed=4294967296"], "grid.seed: 4,294,967,296 is more than 4,294,967,295."),
        (
            [*GOOD, "normalization=bach"],
            "grid.normalization: 'bach' is not a normalization. Did you mean 'batch'? Known: batch, layer, none, rms.",
        ),
        (
            ["activation=tanh", "init=he_normal", "gain=1"],
            "grid.gain: no init of this grid is scaled by it (he_normal). Take it away (gain= on the command line), "
            "or add a shape such as normal.",
        ),
        ([*GOOD, "inputs.samples=0"], "inputs.samples: 0 is less than 1."),
        ([*GOOD, "inputs.samples=many"], "inputs.samples: 'many' is not a whole number."),
        (
            [*GOOD, "inputs.source=digit"],
            "inputs.source: 'digit' is neither a source nor a file. Did you mean 'digits'? "
            "Known: digits, fashion_mnist, mnist, mnist5k, normal.",
        ),
        ([*GOOD, "measure.saturation_threshold=1.5"], "measure.saturation_threshold: 1.5 is not less than 1.0."),
        (
            [*GOOD, "measure.histogram.low=1", "measure.histogram.high=0"],
            "measure.histogram: low = 1 is not less than high = 0.",
        ),
        (
            [*GOOD, "compute.matmul_precision=hihg"],
            "compute.matmul_precision: 'hihg' is not allowed. Did you mean 'high'? Known: BF16_BF16_F32_X3, "
            "BF16_BF16_F32_X6, F32_F32_F32, TF32_TF32_F32, TF32_TF32_F32_X3, default, float32, high, highest.",
        ),
        (
            [*GOOD, "compute.matmul_precision=bf16_bf16_f32_x3"],
            "compute.matmul_precision: 'bf16_bf16_f32_x3' is not allowed. Did you mean 'BF16_BF16_F32_X3'? "
            "Known: BF16_BF16_F32_X3, BF16_BF16_F32_X6, F32_F32_F32, TF32_TF32_F32, TF32_TF32_F32_X3, default, "
            "float32, high, highest.",
        ),
        ([*GOOD, "depht=3"], None),
        ([*GOOD, "phase"], "'phase' is not AXIS=VALUES. A sweep's name or file comes first."),
    ],
)
def test_wrong_words_get_a_sentence(words, sentence):
    if sentence is None:
        found = problems(*words)[0]
        assert found.startswith("depht: not an axis or a key. Did you mean 'depth'? Known: ")
        assert found.count(",") == 2  # three more, and how many there are
    else:
        assert problems(*words) == [sentence]


def test_std_and_gain_in_a_file_are_a_problem(tmp_path):
    path = file(tmp_path, "[grid]\nactivation = 'tanh'\nstd = 1\ngain = 1\n")
    assert problems(source=path) == ["grid.std: std and gain are both given; they scale the same weights, so give one."]


def test_a_huge_grid_is_counted_and_refused_before_it_is_made():
    words = ["activation=tanh", "gain=lin:0:1:1000000", "seed=int:1:1000000"]
    assert problems(*words) == [
        f"grid: 1,000,000,000,000 networks; a sweep may have {MAX_NETWORKS:,}. "
        "The longest axes: gain (1,000,000), seed (1,000,000), activation (1)."
    ]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[grid", "is not TOML:"),
        ("", "grid: missing; it names the axes"),
        ("grid = 3", "grid: 3 is not a table."),
        ("[grid]\nactivation = []\ngain = 1", "grid.activation: the list is empty"),
        ("[grid]\nactivation = 3\ngain = 1", "grid.activation: 3 is not a name."),
        ("[grid]\nactivation = 'tanh'\ngain = true", "grid.gain: True is not a number."),
        ("[grid]\nactivation = 'tanh'\ngain = {a = 1}", "grid.gain: {'a': 1} is not a number."),
        ("[grid]\nactivation = 'tanh'\ngain = 1\n[trian]\nsteps = 3", "trian: not a key of a sweep file. Did you"),
        ("title = 3\n[grid]\nactivation = 'tanh'\ngain = 1", "title: 3 is not a text."),
        ("[grid]\nactivation = 'tanh'\ngain = 1" + "0" * 400, "grid.gain: the number is too large."),
        ("[grid]\nactivation = 'tanh'\ngain = 1\nmeasure = 1", "grid.measure: not an axis."),
    ],
)
def test_hostile_files_get_a_sentence(tmp_path, text, start):
    found = problems(source=file(tmp_path, text))
    assert len(found) == 1
    assert found[0].startswith(start)


def test_files_that_are_no_text_and_names_that_are_no_sweep_get_a_sentence(tmp_path):
    (tmp_path / "junk.toml").write_bytes(bytes(range(256)))
    assert problems(source=tmp_path / "junk.toml") == ["is not a text file in UTF-8."]
    assert problems(source=tmp_path / "none.toml") == ["there is no such file."]
    assert problems(source="phaze")[0].startswith(
        "'phaze' is neither a file nor a ready sweep. Did you mean 'phase'? Known: "
    )
    assert problems(source="../phase")[0].startswith("'../phase' is neither a file nor a ready sweep.")


def test_an_empty_word_takes_an_axis_away():
    he = sweep("gain=", "init=he_normal", source="phase")
    assert he.scale_axis is None
    assert he.n_networks == 3 * 50 * 4


@pytest.mark.parametrize("name", names())
def test_every_ready_sweep_is_valid_and_has_a_title(name):
    assert titles()[name]
    assert sweep(source=name).n_networks > 0


def test_phase_is_the_sweep_of_the_benchmarks():
    assert sweep(source="phase").n_networks == 38_400


AXIS = st.one_of(
    st.floats(1e-300, 1e300),
    st.integers(0, 10**9),
    st.lists(st.floats(0, 1e9), min_size=1, max_size=4, unique=True),
    st.just("log:0.001:1000:7"),
)


@settings(max_examples=100, deadline=None)
@given(
    title=st.text(max_size=30),
    scale=st.sampled_from(["std", "gain"]),
    axis=AXIS,
    samples=st.integers(1, 10**6),
    threshold=st.floats(0.001, 0.999),
    histogram=st.one_of(st.none(), st.tuples(st.integers(1, 99), st.floats(-1e9, 0), st.floats(1, 1e9))),
)
def test_a_sweep_survives_the_way_through_toml(tmp_path_factory, title, scale, axis, samples, threshold, histogram):
    from winit_jax.spec.sweep import toml_value as _toml

    text = f"title = {_toml(title)}\n[grid]\nactivation = ['tanh', 'leaky_relu(0.2)']\n{scale} = {_toml(axis)}\n"
    text += f"[inputs]\nsamples = {samples}\n[measure]\nsaturation_threshold = {threshold!r}\n"
    if histogram:
        text += "histogram = " + _toml(dict(zip(("bins", "low", "high"), histogram, strict=True))) + "\n"
    folder = tmp_path_factory.mktemp("toml")
    once = sweep(source=file(folder, text, "one.toml"))
    again = sweep(source=file(folder, once.to_toml(), "one.toml"))
    assert again == once


def test_only_added_points_are_no_difference():
    old = sweep("activation=tanh", "gain=1,2", "seed=0")
    assert difference(old, sweep("activation=tanh,relu", "gain=1,2,3", "seed=0,1", "compute.batch_mib=64")) == []
    assert difference(old, sweep("activation=tanh", "gain=2,3", "seed=0")) == [
        "grid.gain: 1 of 2 values of the folder are not in the new sweep: 1.0"
    ]
    assert difference(old, sweep("activation=tanh", "std=1,2", "seed=0")) == [
        "grid: gain in the folder, std in the new sweep"
    ]
    assert difference(old, sweep("activation=tanh", "gain=1,2", "seed=0", "inputs.seed=1")) == [
        "inputs.seed: 0 in the folder, 1 in the new sweep"
    ]


def test_the_json_schema_knows_every_key_and_name():
    schema = json_schema(VOCABULARY)
    json.dumps(schema)
    grid = schema["properties"]["grid"]["properties"]
    assert set(grid) == {
        "activation", "init", "std", "gain", "bias_std", "bias_init", "normalization", "norm_epsilon", "block",
        "norm_position", "skip_scale", "branch_scale", "attention_gain", "dtype", "stem_scale", "width", "depth",
        "seed", "learning_rate", "readout_scale",
    }  # fmt: skip
    assert "relu" in json.dumps(grid["activation"])
    assert "rms" in json.dumps(grid["normalization"])
    # Blocks that take numbers are texts; those without, and what takes numbers, are offered as one types.
    named, text = grid["block"]["anyOf"][0]["anyOf"]
    assert {"dense", "residual", "mlp", "transformer"} <= set(named["enum"])
    assert text == {"type": "string"}
    assert set(schema["$defs"]) == {"inputs", "measure", "train", "compute", "Histogram"}
    assert "adam" in schema["$defs"]["train"]["properties"]["optimizer"]["enum"]


def test_an_activation_by_import_path_is_checked(tmp_path, monkeypatch):
    (tmp_path / "my_acts.py").write_text("def snake(a):\n    return a * a\n")
    monkeypatch.chdir(tmp_path)
    assert sweep("activation=my_acts:snake", "gain=1").grid.activation == ["my_acts:snake"]
    said = []
    with pytest.raises(SpecError, match=r"grid\.activation: 'my_acts:worm': my_acts has no function 'worm'\."):
        load_sweep(None, ["activation=my_acts:worm", "gain=1"], vocabulary(said.append))
    assert said == ["my_acts:worm"]


def test_relative_paths_start_at_the_sweep_file(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 2)))
    path = file(tmp_path, "[grid]\nactivation = 'tanh'\ngain = 1\n[inputs]\nsource = 'data.npz'\n")
    assert sweep(source=path).inputs.source == str(tmp_path / "data.npz")
    assert tomllib.loads(sweep(source=path).to_toml())["inputs"]["source"] == str(tmp_path / "data.npz")


GRID = "[grid]\nactivation = 'tanh'\ngain = 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{GRID}seed = 0x{'f' * 5000}", "grid.seed: the number is too large."),
        (f"{GRID}[inputs]\nsamples = 0x{'f' * 5000}", "inputs.samples: the number is too large."),
        (
            f"{GRID}[measure]\nhistogram = {{ low = 1{'0' * 400} }}",
            "measure.histogram.low: the number is too large.",
        ),
        (f"{GRID}[inputs]\nsource = ''", "inputs.source: '' is neither a source nor a file."),
        (f'{GRID}[inputs]\nsource = "a\\u0000.npz"', "inputs.source: 'a\\x00.npz' is no file."),
        (f"{GRID}[inputs]\nsource = '~no-such-user/x.npz'", "inputs.source: '~no-such-user/x.npz' is no file."),
        (f"{GRID}[inputs]\nsource = '{'a' * 5000}'", "inputs.source: 'aaaa"),
        (f"{GRID}[inputs]\nsamples.{'a.' * 3000}b = 1", "inputs.samples: {'a': {'a':"),
        (f"title.{'a.' * 3000}b = 1\n{GRID}", "title: {'a': {'a':"),
    ],
    ids=["seed", "samples", "bin edge", "no path", "NUL", "unknown home", "long path", "deep samples", "deep title"],
)
def test_giant_deep_and_impossible_values_get_one_short_sentence(tmp_path, text, expected):
    (found,) = problems(source=file(tmp_path, text))
    assert found.startswith(expected)
    assert len(found) < 300


def test_an_integer_that_python_cannot_read_gets_a_sentence(tmp_path):
    (found,) = problems(source=file(tmp_path, f"{GRID}seed = 1{'0' * 5000}"))
    assert found.startswith("is not TOML: Exceeds the limit (4300 digits)")


def test_words_of_hostile_size_get_a_sentence():
    (deep,) = problems(*GOOD, "inputs.samples=" + "[" * 5000)
    assert deep.endswith("is not a whole number.")
    (long,) = problems(*GOOD, "inputs.samples=" + "1" * 5000)
    assert long.endswith("is not a whole number.")
    assert len(long) < 200


def test_names_that_no_file_can_have_get_a_sentence():
    assert problems(source="a\0b.toml") == ["is no file name."]
    assert "is neither a file nor a ready sweep." in problems(source="a" * 5000)[0]


def test_what_is_no_file_gets_a_sentence_and_never_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zeros.toml").symlink_to("/dev/zero")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sweep.toml").touch()
    (tmp_path / "large.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "dangling.toml").symlink_to(tmp_path / "nothing")
    assert problems(source=tmp_path / "pipe.toml") == ["is a pipe or a device, not a file."]
    assert problems(source=tmp_path / "zeros.toml") == ["is a pipe or a device, not a file."]
    assert problems(source=tmp_path / "folder.toml") == ["is a folder, not a sweep file."]
    assert problems(source=tmp_path / "dangling.toml") == ["there is no such file."]
    assert problems(source=tmp_path / "run") == [
        f"is a folder, not a sweep file. Its sweep is {tmp_path / 'run' / 'sweep.toml'}."
    ]
    assert problems(source=tmp_path / "large.toml") == [
        f"has {MAX_BYTES + 1:,} bytes; a sweep file may have {MAX_BYTES:,}: write ranges."
    ]
    assert "is neither a file nor a ready sweep" in problems(source="/dev/zero")[0]


DEEP = "a" + ".b" * 20_000


@pytest.mark.parametrize("key", [f"{DEEP} = 1", f"[{DEEP}]", f"x = {{{DEEP} = 1}}"], ids=["key", "table", "inline"])
def test_deep_keys_take_no_time(tmp_path, key):
    with a_moment():
        said = problems(source=file(tmp_path, f"{GRID}{key}\n"))
    assert said == ["has a key of 20,001 parts; a sweep file has three."]


def test_rules_of_dots_are_no_keys(tmp_path):
    assert sweep(source=file(tmp_path, f"# {'.' * 300}\ntitle = 'wait{'.' * 200}'\n{GRID}")).grid.gain == [1.0]


def test_the_epsilon_of_normalisation_is_an_axis():
    sweep = load_sweep(None, [*GOOD, "normalization=none,batch", "norm_epsilon=log:1e-6:1e-4:3,0"], VOCABULARY)
    assert sweep.grid.norm_epsilon == pytest.approx([1e-6, 1e-5, 1e-4, 0])
    one = load_sweep(None, [*GOOD, "normalization=none,batch"], VOCABULARY)
    assert one.grid.norm_epsilon == [1e-5]
    assert sweep.n_networks == 4 * one.n_networks
    assert "norm_epsilon = 1e-05" in one.to_toml()
    assert "norm_epsilon" not in load_sweep(None, GOOD, VOCABULARY).to_toml()


def test_an_epsilon_that_no_network_has_gets_a_sentence():
    for words, sentence in (
        (["norm_epsilon=1e-6"], "grid.norm_epsilon: no network of this grid is normalized. Take it away"),
        (["normalization=layer", "norm_epsilon=-1"], "grid.norm_epsilon: -1 is less than 0."),
    ):
        with pytest.raises(SpecError) as caught:
            load_sweep(None, [*GOOD, *words], VOCABULARY)
        assert sentence in str(caught.value)
