"""`import winit_jax as winit`: what the commands do, as functions, and that nothing around them is changed."""

import asyncio
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import winit_jax as winit
from support.runs import assert_same_bits
from support.runs import run as run_words
from support.runs import winit as command
from winit_jax.engine.planning import planner, report
from winit_jax.store.folder import RunFolder

AXES = {"activation": ["tanh", "relu"], "gain": [0.5, 1.5], "width": 8, "depth": "int:1:3", "seed": "int:0:1"}
WORDS = ["activation=tanh,relu", "gain=0.5,1.5", "width=8", "depth=int:1:3", "seed=int:0:1", "inputs.samples=20"]
TWENTY = {"samples": 20}


def silent(text):
    """Told everything, says nothing."""


def run(request=None, out=None, **options):
    return winit.run(request, out, progress=False, say=silent, **options)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of AXES."""
    return run(AXES, tmp_path_factory.mktemp("face") / "run", inputs=TWENTY)


def test_importing_the_package_imports_nothing_heavy():
    script = (
        "import sys, winit_jax; dir(winit_jax); "
        "print(sorted({'jax', 'numpy', 'pandas', 'pyarrow', 'pydantic', 'typer'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_importing_the_package_takes_less_than_a_tenth_of_a_second():
    command = [sys.executable, "-X", "importtime", "-c", "import winit_jax"]
    taken = []
    for _ in range(3):  # other processes may be at work here
        said = subprocess.run(command, capture_output=True, text=True).stderr
        taken.append(int(re.search(r"(\d+) \| winit_jax$", said, re.MULTILINE)[1]))
    assert min(taken) < 100_000


def test_every_public_name_is_there_and_others_are_not():
    for name in winit.__all__:
        assert name in dir(winit)
        assert getattr(importlib.import_module("winit_jax"), name) is not None
    assert re.fullmatch(r"\d+\..*|0\+unknown", winit.__version__)
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = winit.rnu


def test_a_dict_and_words_make_the_same_tables(done, tmp_path):
    run_words(tmp_path / "words", *WORDS)
    assert_same_bits(done.path, tmp_path / "words")
    assert len(done.networks) == 2 * 2 * 3 * 2


@pytest.mark.slow
def test_options_are_set_over_a_sweep_file_as_words_are(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'title = "Mine"\n[grid]\nactivation = "tanh"\nstd = 0.1\n[inputs]\nsamples = 30\nseed = 3\n'
    )
    planned = winit.plan(tmp_path / "mine.toml", gain=[1, 2], inputs={"samples": 20}, depth=2)
    assert planned.networks == 2
    run(str(tmp_path / "mine.toml"), tmp_path / "run", gain=[1, 2], inputs={"samples": 20}, depth=2, width=4)
    text = (tmp_path / "run" / "sweep.toml").read_text()
    assert 'title = "Mine"' in text
    assert "gain = [1, 2]" in text
    assert "std = 0.1" not in text
    assert "samples = 20\nseed = 3\n" in text


def test_a_ready_sweep_is_a_request_and_so_are_options_alone():
    assert winit.plan("phase").networks == 38_400
    assert winit.plan("phase", seed=0).networks == 9_600
    assert winit.plan(activation="tanh", gain=1).networks == 1
    assert winit.plan(AXES, gain=None, std=[1, 2, 3]).networks == 36


def test_the_tables_of_a_sweep_file_are_a_request():
    request = {"title": "t", "grid": {"phi": "tanh", "gain": 1.0}, "train": {"steps": 5}, "measure.layers": False}
    planned = winit.plan(request, train={"eval_every": 5}, lr=[0.1, 0.2])
    assert planned.training == (5, 128)
    assert planned.rows_by_table == {"networks": 2, "training": 4, "mean_field": 1}


@pytest.mark.slow
def test_values_may_be_numpy_s_ranges_and_paths(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(6))
    request = {"activation": np.array(["tanh"]), "gain": np.linspace(1, 2, 3), "depth": range(1, 6, 2)}
    found = run(
        request, tmp_path / "run", seed=np.uint8(3), width=(np.int64(4),), inputs={"source": tmp_path / "x.npy"}
    )
    assert sorted(set(found.networks["gain"])) == [1, 1.5, 2]
    assert set(found.networks["seed"]) == {3}
    text = (tmp_path / "run" / "sweep.toml").read_text()
    assert 'depth = "int:1:5:2"' in text
    assert "gain = [1.0, 1.5, 2.0]" in text


def test_a_range_of_any_length_is_counted_before_it_is_made():
    with pytest.raises(winit.SpecError, match=r"has 1,000,000,000,000 values; an axis may have 1,000,000\."):
        winit.plan(AXES, seed=range(10**12))


def test_every_problem_of_a_request_is_said_at_once():
    with pytest.raises(winit.SpecError) as caught:
        run({"activation": "rellu", "depht": 3}, gain=[1, "x", object], inputs={"sampels": 3}, seed={"a": 1})
    said = str(caught.value)
    assert said.startswith("request: 6 problems\n")
    assert "grid.activation: 'rellu' is not an activation. Did you mean 'relu'?" in said
    assert "depht: not an axis or a key. Did you mean 'depth'?" in said
    assert "inputs.sampels: not a key of this table. Did you mean 'samples'?" in said
    assert "grid.gain[1]: 'x' is not a number" in said
    assert "grid.gain[2]: <class 'object'> is not a number." in said
    assert "grid.seed: {'a': 1} is not an axis." in said


@pytest.mark.parametrize(
    ("request_", "options", "sentence"),
    [
        (3, {}, "request: 1 problem\n  3 is neither axes in a dict, nor the path of a sweep file, nor the name of"),
        (None, {}, "grid: missing; it names the axes"),
        ("phaze", {}, "'phaze' is neither a file nor a ready sweep. Did you mean 'phase'?"),
        (Path("nowhere.toml"), {}, "nowhere.toml: 1 problem\n  there is no such file."),
        ({"activation": "tanh", "act": "relu", "gain": 1}, {}, "grid.activation: given twice, under two of its names."),
        (AXES, {"std": 1, "gain": 2}, "std and gain are both given"),
        (AXES, {"samples": 3}, "samples: not an axis or a key. Did you mean 'inputs.samples'?"),
        (AXES, {"inputs": 3}, "inputs: 3 is not a table."),
        (AXES, {"gain": []}, "grid.gain: the list is empty"),
        (AXES, {"grid": 3}, "grid: 3 is not a table."),
    ],
)
def test_wrong_requests_get_a_sentence(request_, options, sentence):
    with pytest.raises(winit.SpecError) as caught:
        winit.plan(request_, **options)
    assert sentence in str(caught.value)


def test_a_run_without_a_folder_is_there_as_long_as_its_tables_are_wanted():
    tables = run(activation="tanh", gain=1, width=4, inputs=TWENTY)
    folder = tables.path
    assert len(tables.networks) == 1
    assert folder.is_dir()
    del tables
    assert not folder.exists()
    assert not folder.parent.exists()


def test_a_run_goes_on_in_its_folder_and_other_sweeps_are_refused(tmp_path):
    said = []
    request = {"activation": "tanh", "gain": 1, "width": 4, "inputs": TWENTY}
    winit.run(request, tmp_path / "run", progress=False, say=said.append)
    winit.run(request, tmp_path / "run", progress=False, say=said.append, seed=[0, 1])
    assert said[0].startswith("1 networks in ")
    assert said[1].startswith("1 networks in ")
    assert said[1].endswith(f"(2 of 2 in {tmp_path / 'run'})")
    with pytest.raises(winit.Refused, match="holds another sweep, and only points may be added to it"):
        run(request, tmp_path / "run", inputs={"samples": 21})
    with pytest.raises(winit.Refused, match="holds another sweep"):
        winit.plan(request, tmp_path / "run", inputs={"samples": 21})


def test_all_that_a_run_changes_is_as_it_was(tmp_path, monkeypatch, capfd):
    (tmp_path / "mine_here.py").write_text("import jax.numpy as jnp\n\n\ndef act(a):\n    return jnp.tanh(a)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])

    def around():
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        return handlers, warnings.filters[:], warnings.showwarning, list(sys.path), os.getcwd(), np.geterr()

    before, said = around(), []
    tables = winit.run(activation="mine_here:act", gain=1, width=4, inputs=TWENTY, progress=False, say=said.append)
    assert around() == before
    assert said[0] == "mine_here:act is imported and run, as the request names it"
    assert len(tables.networks) == 1
    assert capfd.readouterr() == ("", "")


def test_a_run_works_in_any_thread_and_beside_a_running_loop(done, tmp_path):
    found = {}
    thread = threading.Thread(target=lambda: found.update(thread=run(AXES, tmp_path / "thread", inputs=TWENTY)))
    thread.start()
    thread.join()

    async def cell():
        return run(AXES, tmp_path / "loop", inputs=TWENTY)

    found["loop"] = asyncio.run(cell())
    for name in ("thread", "loop"):
        assert_same_bits(done.path, found[name].path)


@pytest.fixture
def interrupted_after_one_part(monkeypatch):
    """The user presses Ctrl-C once a part is written."""
    monkeypatch.setattr(planner, "PART_SECONDS", 1e-12)
    write, written = RunFolder.write, []

    def interrupting(self, stem, part, depths, tables):
        write(self, stem, part, depths, tables)
        written.append(stem)
        if len(written) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "write", interrupting)


@pytest.mark.usefixtures("interrupted_after_one_part")
@pytest.mark.parametrize("is_named", [True, False])
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(done, tmp_path, is_named, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(AXES, tmp_path / "run" if is_named else None, inputs=TWENTY)
    assert signal.getsignal(signal.SIGINT) == before
    said = re.fullmatch(
        r"Interrupted: (\d+) of 24 networks are done\. Go on with: winit\.run\('(.*)', out='(.*)'\)", str(caught.value)
    )
    assert 0 < int(said[1]) < 24
    assert len(winit.load(said[3]).networks) == int(said[1])
    whole = run(said[2], said[3])
    assert_same_bits(done.path, whole.path)


@pytest.mark.slow
def test_networks_that_fail_are_named_by_a_warning(tmp_path, monkeypatch):
    name = f"brittle_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "def act(a):\n    if a.shape[-1] == 13:\n        raise RuntimeError('thirteen units')\n    return a\n"
    )
    monkeypatch.chdir(tmp_path)
    request = {"activation": [f"{name}:act", "tanh"], "gain": 1, "width": 13, "depth": 2, "inputs": {"samples": 9}}
    with pytest.warns(
        winit.FailedNetworks, match=f"^{name}:act, normal 1, none, width 13, seed 0, all depths: Runtime"
    ):
        tables = run(request, tmp_path / "run")
    assert list(tables.networks["activation"]) == ["tanh"]
    assert winit.status(tmp_path / "run").failed[0].startswith(f"{name}:act, normal 1")


def test_what_takes_hours_is_refused_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SAID_SECONDS", 0.0)
    monkeypatch.setattr(report, "ASKED_SECONDS", 0.0)
    with pytest.raises(winit.Refused, match=r"^Nothing was run: it takes about .* and allow_long is False\.$"):
        run(AXES, tmp_path / "run", allow_long=False)
    assert not (tmp_path / "run" / "sweep.toml").exists()


def test_a_plan_says_what_winit_plan_prints_and_runs_no_code_of_the_sweep(tmp_path, monkeypatch):
    (tmp_path / "shouts.py").write_text("raise SystemExit('it was imported')\n")
    monkeypatch.chdir(tmp_path)
    request = {"activation": "shouts:act", "gain": [1, 2], "measure": {"histogram": {"bins": 4}}}
    planned = winit.plan(request)
    assert planned.networks == 2
    assert planned.bytes == sum(planned.bytes_by_table.values())
    assert planned.rows_by_table.keys() == planned.bytes_by_table.keys() >= {"networks", "layers", "histograms"}
    words = ("activation=shouts:act", "gain=1,2", "measure.histogram.bins=4")
    printed = command("plan", *words, "--out", tmp_path / "run")[0]
    assert printed == f"{winit.plan(request, tmp_path / 'run')}\n"
    assert printed == f"{planned}\nfolder        {tmp_path / 'run'}\n"
    assert not (tmp_path / "run").exists()


def test_status_and_verify_say_what_the_commands_print(done, tmp_path):
    standing, verdict = winit.status(done.path), winit.verify(str(done.path))
    assert command("status", done.path)[0] == f"{standing}\n"
    assert (standing.state, standing.done, standing.networks, standing.missing) == ("done", 24, 24, 0)
    assert (standing.damaged, standing.failed, standing.go_on) == ((), (), "")
    assert command("verify", done.path)[0] == f"{verdict}\n"
    assert verdict.is_whole
    for look in (winit.status, winit.verify, winit.load):
        with pytest.raises((winit.FolderError, winit.RunFolderError), match="is not a run folder"):
            look(tmp_path)


def test_theory_says_what_the_command_prints():
    advice = winit.theory("tanh", bias_std=0.2)
    assert advice.critical == pytest.approx(1.30415, abs=1e-5)
    assert command("theory", "tanh", "--bias-std", "0.2")[0] == f"{advice}\n"
    assert winit.theory("gelu", gain=1.5, start=2.25).rows[0].start == 2.25
    assert command("theory", "gelu", "--inputs", "digits")[0] == f"{winit.theory('gelu', inputs='digits')}\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gain": 0}, "the gain greater than 0"),
        ({"bias_std": float("nan")}, "must be finite"),
        ({"bias_std": -1.0}, "bias_std 0 or more"),
        ({"start": 1.0, "inputs": "digits"}, "give one of them"),
        ({"activation": "rellu"}, "'rellu' is not an activation. Did you mean 'relu'?"),
        ({"inputs": "digitz"}, "Did you mean 'digits'?"),
    ],
)
def test_wrong_questions_to_theory_get_a_sentence(options, sentence):
    with pytest.raises(winit.WinitError) as caught:
        winit.theory(**{"activation": "tanh", **options})
    assert sentence in str(caught.value)


def test_the_catalog_has_titles_and_files():
    titles = winit.catalog()
    assert titles["phase"] == "Sigmoid, tanh and ReLU across the edge of chaos"
    assert f'title = "{titles["phase"]}"' in winit.catalog("phase")
    with pytest.raises(winit.SpecError, match="Did you mean 'phase'"):
        winit.catalog("phaze")


def test_progress_and_messages_go_to_stderr_by_default(capsys):
    winit.run(activation="tanh", gain=1, width=4, inputs=TWENTY)
    out, said = capsys.readouterr()
    assert out == ""
    assert said.splitlines()[-1].startswith("1 networks in ")


@pytest.mark.slow
def test_the_standard_figures_are_drawn_where_they_are_asked_for(tmp_path):
    said = []
    winit.run(AXES, tmp_path / "run", inputs=TWENTY, figures=True, progress=False, say=said.append)
    drawn = sorted(file.name for file in (tmp_path / "run" / "figures").iterdir())
    assert "saturation.png" in drawn
    assert f"drew {tmp_path / 'run' / 'figures' / 'saturation.png'}" in said


def test_errors_that_a_user_catches_have_one_kind():
    ours = [getattr(winit, name) for name in winit.__all__ if name.endswith(("Error", "Refused"))]
    assert len(ours) == 8
    assert all(issubclass(kind, winit.WinitError) for kind in ours)
