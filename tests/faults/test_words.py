"""A fuzzer of words and files: whatever is asked for, the answer is an exit code of 0, 1 or 2 and never a traceback."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from support.clocks import a_moment
from winit_jax.cli.main import app
from winit_jax.columns import AXES
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.spec.aliases import ALIASES, OTHERS
from winit_jax.spec.catalog import names, sweep_text
from winit_jax.spec.sweep import TABLES, Histogram
from winit_jax.system import streams as system

pytestmark = pytest.mark.slow

# 2,000 cases in all; WINIT_FUZZ multiplies them.
TIMES = float(os.environ.get("WINIT_FUZZ", "1"))
VOCABULARY = vocabulary()
KEYS = [
    *AXES,
    "title",
    *(f"{table}.{key}" for table, model in TABLES.items() for key in model.model_fields),
    *(f"measure.histogram.{key}" for key in Histogram.model_fields),
    "train.optimizer_options.b1",
    "train.optimizer_options.momentum",
]
WORDS = [
    *VOCABULARY.activations, *VOCABULARY.inits, *VOCABULARY.optimizers,
    *AXES["normalization"].names, *(word for alias in ALIASES for word in alias.words), *OTHERS["activation"],
    "digits", "mnist", "normal", "inf",
    "true", "false", "highest", "leaky_relu(0.2)", "leaky_relu(nan)", "jax.nn:celu", "os:system", "no.such:thing", ":",
]  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-3, 12).map(str),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["1e400", "-0.0", "5e-324", "0x10", "1_000", "١", "1e999999999", "9" * 5000, ".5", "1.", "2**3"]),
)
RANGES = st.builds(
    lambda kind, parts: ":".join([kind, *parts]),
    st.sampled_from(["lin", "log", "int", "linear", ""]),
    st.lists(NUMBERS, min_size=1, max_size=4),
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.lists(st.one_of(NUMBERS, RANGES, st.sampled_from(WORDS), TEXT), min_size=0, max_size=3).map(",".join)
WORD = st.one_of(
    st.builds(lambda key, value: f"{key}={value}", st.sampled_from(KEYS), VALUES),
    st.builds(lambda key, value: f"{key}={value}", TEXT, VALUES),
    TEXT.filter(lambda text: not text.startswith("-")),
)
# Most requests are nearly right, or none would reach what comes after reading.
GOOD = ["activation=tanh", "gain=1", "width=3", "inputs.samples=4", "depth=2"]
REQUEST = st.one_of(
    st.lists(WORD, max_size=4).map(lambda words: [*GOOD, *words]),
    st.lists(WORD, max_size=6),
    st.builds(
        lambda name, words: [name, *words], st.sampled_from([*names(), "runs", "", "."]), st.lists(WORD, max_size=3)
    ),
)
TOML_VALUE = st.recursive(
    st.one_of(
        NUMBERS,
        st.sampled_from(["true", "false", "inf", "-inf", "nan", "''", "1979-05-27", "07:32:00", "[]", "{}"]),
        st.one_of(st.sampled_from(WORDS), RANGES, TEXT).map(lambda text: repr(text)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.builds(lambda key, value: f"{{ {key} = {value} }}", st.sampled_from(["bins", "low", "a", "'b'"]), inner),
    ),
    max_leaves=6,
)
TOML_KEY = st.one_of(st.sampled_from([key.split(".")[-1] for key in KEYS]), st.sampled_from(KEYS), TEXT.map(repr))
TOML_LINE = st.one_of(
    st.builds(lambda key, value: f"{key} = {value}", TOML_KEY, TOML_VALUE),
    st.sampled_from(["[grid]", "[inputs]", "[measure]", "[train]", "[compute]", "[other]", "[[grid]]", "# note", ""]),
    TEXT,
)
BASE = "[grid]\nactivation = 'tanh'\ngain = 1\nwidth = 3\ndepth = 2\n"


@st.composite
def mutated(draw):
    """The file of a ready sweep with a few lines changed, doubled, left out or put in, or bytes of it."""
    lines = draw(st.sampled_from([*map(sweep_text, names()), BASE])).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines)))
        lines[place : place + draw(st.integers(0, 1))] = draw(st.lists(TOML_LINE, max_size=2))
    raw = "\n".join(lines).encode()
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(max_size=3)) + raw[place + draw(st.integers(0, 3)) :]
    return raw


FILE = st.one_of(
    mutated(),
    st.lists(TOML_LINE, max_size=12).map(lambda lines: "\n".join(lines).encode()),
    st.lists(TOML_LINE, max_size=4).map(lambda lines: (BASE + "\n".join(lines)).encode()),
    st.binary(max_size=60),
)


def fuzz(examples):
    def decorate(test):
        given_settings = settings(
            max_examples=int(examples * TIMES),
            deadline=None,
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        return given_settings(test)

    return decorate


def answered(words, seconds=10.0):
    """Invoke the command line; the exit code is 0, 1 or 2, there is a sentence, and it takes a moment."""
    with a_moment(seconds):
        result = CliRunner().invoke(app, words)
    said, code = result.stderr, result.exit_code
    if isinstance(result.exception, OSError):  # what the system refuses gets its sentence in `main`
        said, code = system.sentence(result.exception)
        assert code == 2, (words, result.exc_info)
    else:
        assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exc_info)
    assert code in (0, 1, 2), (words, result.output)
    assert "Traceback" not in result.output, words
    assert code == 0 or said.strip(), words
    assert len(said) < 40_000, words


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """Nothing here writes beside the code."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    for words in (["plan", *GOOD], ["plot", "nowhere"], ["theory", "tanh"]):  # what is imported once is not counted
        CliRunner().invoke(app, words)
    yield
    os.chdir(before)


@fuzz(900)
@given(REQUEST, st.sampled_from([[], ["--json"]]))
def test_any_words_get_a_plan_or_a_sentence(words, options):
    answered(["plan", *options, "--", *words])


@fuzz(800)
@given(FILE, st.lists(WORD, max_size=1))
def test_any_file_gets_a_plan_or_a_sentence(raw, words):
    Path("fuzz.toml").write_bytes(raw)
    answered(
        ["plan", "fuzz.toml", *words] if not any(word.startswith("-") for word in words) else ["plan", "fuzz.toml"]
    )


@fuzz(120)
@given(st.one_of(st.sampled_from(WORDS), TEXT), st.lists(st.one_of(NUMBERS, TEXT), min_size=2, max_size=2))
def test_any_theory_is_told_or_a_sentence(name, scales):
    answered(["theory", f"--gain={scales[0]}", f"--bias-std={scales[1]}", "--json", "--", name], seconds=10.0)


OPTION = st.sampled_from(["--value", "--x", "--y", "--row", "--col", "--seeds", "--where", "--format", "--out"])


@fuzz(150)
@given(
    st.one_of(st.none(), st.sampled_from(["heatmap", "profiles", "ranking"]), TEXT), st.lists(st.tuples(OPTION, VALUES))
)
def test_any_figure_of_what_is_no_run_gets_a_sentence(kind, options):
    Path("empty").mkdir(exist_ok=True)
    named = [f"{option}={value}" for option, value in options]
    answered(["plot", *named, "--", "empty", *([kind] if kind else [])])


@fuzz(50)
@given(st.one_of(TEXT, st.sampled_from(["/dev/zero", "/", "fuzz.toml", "/proc/self/mem", "a" * 300, "\x00"])))
def test_any_folder_has_a_status_or_a_sentence(name):
    answered(["status", "--", name])


@fuzz(12)
@given(st.lists(st.builds(lambda key, value: f"{key}={value}", st.sampled_from([*AXES][1:8]), NUMBERS), max_size=2))
def test_any_small_run_ends_with_an_exit_code(words):
    small = [word for word in words if not word.startswith(("width", "depth", "init", "normalization"))]
    folder = Path("runs") / str(time.monotonic_ns())
    answered(["run", "--no-figures", f"--out={folder}", "--", *GOOD, *small], seconds=60.0)
