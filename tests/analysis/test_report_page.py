"""The page of a run without a browser: what it holds, how large it is, and what it says it left out."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

import winit_jax as winit
from support.runs import run
from support.runs import winit as command
from winit_jax.analysis.reading import NoRoom
from winit_jax.analysis.report import document, sheets
from winit_jax.analysis.report.packing import pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "run"
    run(folder, "activation=tanh,relu", "gain=0.5,1,2", "depth=int:1:4", "width=8", "seed=int:0:2", "inputs.samples=10")
    return folder


def unpacked(packed):
    kind, count = np.dtype(f"<{packed['kind']}"), packed["count"]
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["text"])), np.uint8)
    return np.ascontiguousarray(planes.reshape(kind.itemsize, count).T).view(kind)[:, 0]


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize(
    "numbers",
    [np.array([0.1, -np.inf, np.nan, 1e30]), np.arange(300), np.array([0, 255]), np.zeros(0), np.zeros(0, int)],
)
def test_packed_arrays_come_back(numbers):
    back = unpacked(pack(numbers).to_json())
    np.testing.assert_array_equal(back, numbers.astype(back.dtype))


def test_whole_numbers_beyond_two_bytes_are_refused():
    for wrong in ([-1], [65_536]):
        with pytest.raises(ValueError, match="from 0 to 65,535"):
            pack(np.array(wrong))


def test_every_point_of_the_page_is_one_of_the_table(folder):
    networks = winit.load(folder).networks
    (sheet,) = data_of(document.page(winit.load(folder)))["maps"]
    keys = {key["name"]: key["words"] for key in sheet["keys"]}
    codes = {name: unpacked(packed) for name, packed in sheet["codes"].items()}
    assert sorted(keys) == ["activation", "depth", "gain"]
    for column in ("log10_act_rms", "saturated"):
        groups = networks.groupby(["activation", "depth", "gain"], observed=True)[column]
        for field, how in (("median", "median"), ("low", "min"), ("high", "max")):
            numbers = unpacked(sheet["columns"][column][field])
            assert len(numbers) == groups.ngroups
            for (activation, depth, gain), value in groups.agg(how).items():
                place = (
                    (codes["activation"] == keys["activation"].index(activation))
                    & (codes["depth"] == keys["depth"].index(str(depth)))
                    & (codes["gain"] == keys["gain"].index(f"{gain:.3g}"))
                )
                assert numbers[place] == pytest.approx([value], rel=1e-6)


def test_z_is_that_of_the_deviations(folder):
    loaded = winit.load(folder)
    wanted = loaded.deviations()
    (sheet,) = sheets.maps(loaded)
    measured = sheet.columns["log10_act_rms"]
    np.testing.assert_allclose(np.sort(measured.z), np.sort(wanted["z"]), rtol=1e-9)
    np.testing.assert_allclose(np.sort(measured.predicted), np.sort(wanted["predicted"]), rtol=1e-12)


def test_the_command_writes_one_file_and_tells_where(folder, tmp_path):
    stdout, _ = command("report", folder, "--out", tmp_path / "a.html")
    assert stdout == f"{tmp_path / 'a.html'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    markup = re.sub(r"<script>.*?</script>", "", (tmp_path / "a.html").read_text("utf-8"), flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!#)', markup)


def test_one_seed_has_no_ends_of_its_own_in_the_page(tmp_path):
    run(tmp_path / "one", "activation=tanh", "gain=1,2", "depth=1,2", "width=4", "inputs.samples=5", "seed=0")
    column = data_of(document.page(winit.load(tmp_path / "one")))["maps"][0]["columns"]["log10_act_rms"]
    assert (column["low"], column["high"], column["z"]) == (None, None, None)
    assert column["predicted"] is not None


def test_a_table_without_room_in_memory_is_named_and_the_rest_is_shown(folder, monkeypatch):
    def no_room(run):
        raise NoRoom("layers takes more memory than is free")

    monkeypatch.setattr(sheets, "profiles", no_room)
    page = document.page(winit.load(folder))
    assert "<li>layers takes more memory than is free</li>" in page
    assert data_of(page)["maps"]
    assert data_of(page)["profiles"] == []


def test_predictions_at_infinite_width_have_a_page(tmp_path):
    run(tmp_path / "theory", "activation=tanh,relu", "gain=0.5,1,2", "depth=1,2,3", "width=inf")
    page = document.page(winit.load(tmp_path / "theory"))
    assert "Mean field's critical gain" in page.replace("&#39;", "'")
    assert "theory_log10_act_rms" in data_of(page)["maps"][0]["columns"]


def test_what_does_not_fit_is_left_out_and_named(folder, monkeypatch):
    (whole,) = data_of(document.page(winit.load(folder)))["maps"]
    first = next(iter(whole["columns"]))
    room = len(json.dumps(whole | {"columns": {first: whole["columns"][first]}}))
    monkeypatch.setattr(document, "ROOM", room)
    page = document.page(winit.load(folder))
    assert len(json.dumps(data_of(page)["maps"])) <= 1.01 * room
    assert "Not in this page" in page
    assert re.search(r"<li>[^<]*saturated[^<]* for the size of this file", page)
    assert data_of(page)["maps"][0]["columns"]


def test_a_key_with_too_many_values_is_thinned_and_said(folder, monkeypatch):
    monkeypatch.setattr(sheets, "MOST_POINTS", 12)
    assert "Of networks, 2 of 4 values of depth are shown." in document.page(winit.load(folder))


def test_the_scripts_of_the_page_are_those_that_it_allows(folder):
    page = document.page(winit.load(folder))
    assert "script-src 'sha256-" in page
    assert "unsafe-eval" not in page.partition("<body>")[0]


def test_a_folder_that_cannot_be_written_is_a_sentence(folder, tmp_path):
    (tmp_path / "file").write_text("")
    _, stderr = command("report", folder, "--out", tmp_path / "file" / "a.html", code=2)
    assert "cannot be written" in stderr


def test_a_run_of_one_network_has_a_page_too(tmp_path):
    run(tmp_path / "one", "activation=tanh", "depth=3", "width=4", "inputs.samples=5", "gain=1")
    assert len(data_of(document.page(winit.load(tmp_path / "one")))["profiles"][0]["codes"]) == 2


def test_the_critical_line_stands_at_the_gain_of_the_table(folder):
    loaded = winit.load(folder)
    (sheet,) = data_of(document.page(loaded))["maps"]
    names = next(key["words"] for key in sheet["keys"] if key["name"] == "activation")
    critical = loaded.mean_field.groupby("activation", observed=True)["critical_gain"].first()
    lines = [line for line in sheet["lines"] if line["words"] == "mean field: χ₁ = 1" and line["scale"] == "critical"]
    assert {names[line["at"]["activation"]] for line in lines} == {"tanh", "relu"}
    for line in lines:
        assert line["xs"] == pytest.approx([critical[names[line["at"]["activation"]]]] * 2, rel=1e-5)
