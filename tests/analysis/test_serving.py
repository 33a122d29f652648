"""The server of reports: whom it answers, what it hands out, and that a page follows its run."""

import http.client
import subprocess
import sys
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from support.runs import run
from support.runs import winit as command

TITLE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    words = ["activation=tanh", "gain=1,2", "depth=1,2", "width=4", "inputs.samples=5", f"title={TITLE}"]
    run(folder / "first", *words)
    run(folder / "broken", *words)
    next((folder / "broken" / "networks").glob("*.parquet")).write_bytes(b"nothing")
    (folder / "secret.txt").write_text("secret")
    return folder


@contextmanager
def served(*folders):
    """(The address with its token, a function that asks for a path) of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "winit_jax", "serve", *map(str, folders)], stdout=subprocess.PIPE, text=True
    )
    try:
        address = urlsplit(process.stdout.readline().strip())

        def ask(path, method="GET", **headers):
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

        yield address, ask
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def server(runs):
    with served(runs) as server:
        yield server


@pytest.fixture(scope="module")
def cookie(server):
    address, ask = server
    status, _, headers = ask(f"/?{address.query}")
    assert status == 302
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    return headers["Set-Cookie"].partition(";")[0]


def test_it_listens_on_this_machine_alone_and_says_where(server):
    assert server[0].hostname == "127.0.0.1"


def test_without_the_token_nothing_is_shown(server, cookie):
    for path in ("/", "/run/0", "/run/0/stamp", "/?token=wrong", "/secret.txt"):
        status, text, _ = server[1](path)
        assert status == 403
        assert "Open the address that winit serve printed" in text
        assert TITLE not in text


def test_a_request_by_another_host_name_is_sent_away(server, cookie):
    assert server[1]("/", Cookie=cookie, Host="evil.example")[0] == 403


def test_the_list_names_every_run_and_no_title_is_a_script(server, cookie):
    status, text, _ = server[1]("/", Cookie=cookie)
    assert status == 200
    assert text.count("<tr>") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert TITLE not in text


def test_a_run_is_its_report(server, cookie, runs):
    pages = [server[1](f"/run/{number}", Cookie=cookie)[1] for number in (0, 1)]
    good = next(page for page in pages if 'id="data"' in page)
    assert "connect-src 'self'" in good
    broken = next(page for page in pages if page is not good)
    assert "is damaged" in broken


@pytest.mark.parametrize(
    "path",
    ["/run/../secret.txt", "/run/%2e%2e/secret.txt", "/secret.txt", "/run/7", "/run/-1", "/run/0/../../etc/passwd"],
)
def test_odd_paths_get_a_page_that_says_so(server, cookie, path):
    status, text, _ = server[1](path, Cookie=cookie)
    assert status == 404
    assert "There is no such page here." in text


def test_nothing_can_be_changed(server, cookie):
    assert server[1]("/", method="POST", Cookie=cookie)[0] in (403, 405)
    assert server[1]("/run/0", method="DELETE", Cookie=cookie)[0] in (403, 405)


def test_a_huge_request_is_refused_and_the_next_one_answered(server, cookie):
    with suppress(http.client.HTTPException, OSError):  # it may hang up
        assert server[1]("/" + "a" * 100_000, Cookie=cookie)[0] >= 400
    assert server[1]("/", Cookie=cookie)[0] == 200


def test_a_stamp_changes_when_the_run_goes_on(server, cookie, runs):
    before = [server[1](f"/run/{number}/stamp", Cookie=cookie)[1] for number in (0, 1)]
    words = ["activation=tanh", "gain=1,2", "depth=1,2,3", "width=4", "inputs.samples=5", f"title={TITLE}"]
    run(runs / "first", *words)
    after = [server[1](f"/run/{number}/stamp", Cookie=cookie)[1] for number in (0, 1)]
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_folders_without_runs_are_named_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    _, stderr = command("serve", tmp_path / "empty", tmp_path / "gone", code=2)
    assert f"{tmp_path / 'empty'} is no run folder, and has none in it." in stderr
    assert f"{tmp_path / 'gone'} is no run folder, and has none in it." in stderr
