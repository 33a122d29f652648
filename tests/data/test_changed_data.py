"""A run goes on only with the data that it began with: images, labels, test images and test labels."""

import gzip
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from test_datasets import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, write_idx
from test_inputs import idx

from support.runs import assert_same_bits, run
from winit_jax.data.inputs import load_inputs
from winit_jax.data.sources import read
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.running import held
from winit_jax.spec.parts import Job, Point
from winit_jax.spec.sweep import Inputs
from winit_jax.store.journal import Journal, Record

TINY = ["activation=tanh", "gain=1", "width=4", "depth=2", "train.steps=2", "train.batch_size=4"]
FILES = {
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": TEST_IMAGES,
    "t10k-labels-idx1-ubyte": TEST_LABELS,
}


def write(folder, names=tuple(FILES)):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(idx(FILES[name], 0x08))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_the_digest_of_one_file_is_that_of_sha256sum(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS, x_test=TEST_IMAGES, y_test=TEST_LABELS)
    digest = sha256((tmp_path / "a.npz").read_bytes())
    assert read(str(tmp_path / "a.npz")).sha256 == digest
    data = load_inputs(Inputs(source=str(tmp_path / "a.npz")), width=1)
    assert (data.sha256, data.files) == (digest, (("a.npz", digest),))


def test_the_digest_of_several_files_is_of_all_of_them_in_order(tmp_path):
    write(tmp_path)
    each = [sha256((tmp_path / name).read_bytes()) for name in FILES]
    found = read(str(tmp_path))
    assert found.files == tuple(zip(FILES, each, strict=True))
    assert found.sha256 == sha256("".join(f"{digest}\n" for digest in each).encode())


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_read_decides_the_digest(tmp_path, name):
    write(tmp_path)
    before = read(str(tmp_path)).sha256
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    assert read(str(tmp_path)).sha256 != before


def test_bundled_labels_decide_the_digest():
    found = read("digits")
    assert found.sha256 == sha256(found.images.astype(float).tobytes() + found.labels.tobytes())


@pytest.mark.slow
def test_a_training_run_refuses_other_labels_and_a_test_set_that_was_added(tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    write(data, [*FILES][:2])
    words = [*TINY, f"train.source={data}"]
    run(out, *words)
    kept = json.loads((out / "run.json").read_text())
    assert list(kept["train"]["files"]) == [*FILES][:2]
    assert list(kept["inputs"]["4"]["files"]) == [*FILES][:2]

    write(data)
    said = run(out, *words, "seed=0,1", code=2)
    assert "has changed since" in said
    assert "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte). Put the old data back" in said
    for name in [*FILES][2:]:
        (data / name).unlink()
    (data / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[::-1], 0x08))
    said = run(out, *words, "seed=0,1", code=2)
    assert "train-labels-idx1-ubyte). Put the old data back" in said
    (data / "train-labels-idx1-ubyte").write_bytes(idx(LABELS, 0x08))
    run(out, *words, "seed=0,1")


def test_a_forward_run_refuses_other_labels(tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    write_idx(data, packed=True)
    words = ["activation=tanh", "gain=1", "width=4", "depth=2", f"inputs.source={data}", "measure.gradients=true"]
    run(out, *words)
    (data / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[::-1], 0x08)))
    assert "train-labels-idx1-ubyte.gz). Put the old data back" in run(out, *words, "seed=0,1", code=2)


def test_data_of_a_run_that_committed_nothing_may_be_mended(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", IMAGES)
    words = ["activation=tanh", "gain=1", "width=4", "depth=2", f"inputs.source={tmp_path / 'x.npy'}"]

    def fails(*_, **__):
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Executor, "run", fails)
        run(tmp_path / "run", *words, code=1)
    np.save(tmp_path / "x.npy", IMAGES[::-1])
    run(tmp_path / "run", *words)
    np.save(tmp_path / "x.npy", IMAGES)
    assert "has changed since" in run(tmp_path / "run", *words, "seed=0,1", code=2)


def test_a_folder_holds_only_the_functions_of_networks_that_it_has():
    job = Job("mine:kept", "normal", "none", 4, 0, (Point("normal", 1.0, 0.0),))
    record = Record.model_construct(stem="a", made_by="1", jobs=(job,), void="")
    known = {"inputs": {}, "activations": {"mine:kept": "1 2", "mine:never_ran": "3 4"}}
    folder = SimpleNamespace(
        path="run",
        journal=lambda: Journal(environments={"1": known, "2": {"activations": {"mine:kept": "5 6"}}}),
        committed=lambda: {"a": record},
    )
    assert held.changed(folder, {"inputs": {}, "activations": {"mine:never_ran": "7 8", "mine:kept": "1 2"}}) is None
    assert "mine:kept is not" in held.changed(folder, {"inputs": {}, "activations": {"mine:kept": "5 6"}})


@pytest.mark.slow
def test_a_sweep_that_leaves_out_samples_takes_those_that_are_there_and_goes_on_with_them(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    words = ["activation=tanh", "gain=1", "width=4,5", "depth=2", f"inputs.source={tmp_path / 'x.npy'}"]
    run(tmp_path / "one", *words)
    assert "# samples: 1,000, or all of a source that has fewer" in (tmp_path / "one" / "sweep.toml").read_text()
    assert json.loads((tmp_path / "one" / "run.json").read_text())["inputs"]["5"]["shape"] == [50, 16]
    assert "0 networks" in run(tmp_path / "one", *words)
    run(tmp_path / "other", tmp_path / "one" / "sweep.toml")
    assert_same_bits(tmp_path / "one", tmp_path / "other")
    assert "50 in the new sweep" in run(tmp_path / "one", *words, "inputs.samples=50", code=2)
