"""Reports of runs on this machine at a loopback address: read-only, behind a token, anew while a run goes on.

Tornado answers. Only runs that were found when it began can be asked for, by number: no path comes from outside.
"""

import asyncio
import hmac
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from winit_jax.analysis.reading import RunFolderError, read_folder
from winit_jax.analysis.report import document
from winit_jax.analysis.run import Run
from winit_jax.analysis.selection import PlotError
from winit_jax.store import journal
from winit_jax.store.listing import line_of, runs_in

ADDRESS = "127.0.0.1"
COOKIE = "winit"
# A request has no body, and its head is a line or two.
MOST_BYTES = 16_384
# How often the list of runs is loaded anew, in seconds.
REFRESH = 10


@dataclass(frozen=True)
class Served:
    """A run that can be looked at. number: its place in the list."""

    number: int
    path: Path

    @property
    def stamp(self) -> str:
        """What changes when rows are committed or the run ends."""
        marks = []
        for path in (self.path / "run.json", *sorted((self.path / journal.FOLDER).glob("*.jsonl"))):
            with suppress(OSError):
                found = path.stat()
                marks.append(f"{path.name}:{found.st_size}:{found.st_mtime_ns}")
        return " ".join(marks)


def found(folders: Sequence[str | Path]) -> list[Served]:
    """The runs among these folders, and in them. Errors: NoRuns."""
    return [Served(number, path.absolute()) for number, path in enumerate(runs_in(folders))]


def application(runs: Sequence[Served], token: str, port: int) -> Application:
    """What answers. token: whoever has not got it is sent away. port: of the address that requests must name."""
    shared = {"runs": runs, "token": token, "hosts": {f"{ADDRESS}:{port}", f"localhost:{port}"}}
    pages = _Pages()
    return Application(
        [
            (r"/", _Index, shared),
            (r"/run/(\d{1,6})", _Report, shared | {"pages": pages}),
            (r"/run/(\d{1,6})/stamp", _Stamp, shared),
        ],
        default_handler_class=_Nothing,
        default_handler_args=shared,
        log_function=lambda handler: None,
    )


def serve(folders: Sequence[str | Path], port: int, say: Callable[[str], None]) -> None:
    """Serve the reports of these folders until it is interrupted. port: 0 takes a free one. say: told the address.

    Errors: NoRuns for folders without runs; OSError for a port that is taken.
    """
    runs, token = found(folders), secrets.token_urlsafe(24)

    async def forever() -> None:
        sockets = bind_sockets(port, ADDRESS)
        taken = sockets[0].getsockname()[1]
        app = application(runs, token, taken)
        server = HTTPServer(app, max_header_size=MOST_BYTES, max_body_size=0, max_buffer_size=4 * MOST_BYTES)
        server.add_sockets(sockets)
        say(f"http://{ADDRESS}:{taken}/?token={token}")
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(forever())


class _Pages:
    """Pages of runs, made one at a time and kept as long as the run is as it was."""

    def __init__(self) -> None:
        self._made: dict[Path, tuple[str, str]] = {}
        self._worker = ThreadPoolExecutor(1)

    async def of(self, run: Served) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._page, run)

    def _page(self, run: Served) -> str:
        stamp = run.stamp
        if self._made.get(run.path, ("", ""))[0] != stamp:
            self._made[run.path] = stamp, document.page(read_folder(run.path, Run), stamp=stamp)
        return self._made[run.path][1]


class _Handler(RequestHandler):
    """What all answers have in common: the token, the host, and a page for what goes wrong."""

    def initialize(self, runs: Sequence[Served], token: str, hosts: set[str], pages: _Pages | None = None) -> None:
        self.runs, self.token, self.hosts, self.pages = runs, token, hosts, pages

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.clear_header("Server")

    def prepare(self) -> None:
        """Send away who asks by another name, or has neither the token nor the cookie that stands for it."""
        if self.request.host not in self.hosts:
            raise HTTPError(403, reason="Forbidden")
        given = self.get_query_argument("token", "")
        if given and hmac.compare_digest(given.encode(), self.token.encode()):
            self.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict", path="/")
            self.redirect(self.request.path)
        elif not hmac.compare_digest((self.get_cookie(COOKIE) or "").encode(), self.token.encode()):
            raise HTTPError(403, reason="Forbidden")

    def run_of(self, number: str) -> Served:
        if int(number) >= len(self.runs):
            raise HTTPError(404, reason="Not Found")
        return self.runs[int(number)]

    def write_error(self, status_code: int, **_: Any) -> None:
        words = {
            403: "Open the address that winit serve printed: it has the token that this page wants.",
            404: "There is no such page here.",
            405: "Pages here can be read and nothing else.",
        }
        self.finish(document.index("winit", sentences=[words.get(status_code, "This page cannot be shown.")]))

    def log_exception(self, *_: Any) -> None:
        """Nothing: the answer says it."""


class _Index(_Handler):
    def get(self) -> None:
        lines = [(run.number, line_of(run.path)) for run in self.runs]
        self.finish(document.index("Runs", runs=lines, refresh=REFRESH))


class _Report(_Handler):
    async def get(self, number: str) -> None:
        run = self.run_of(number)
        assert self.pages is not None
        try:
            self.finish(await self.pages.of(run))
        except (RunFolderError, PlotError) as error:
            self.finish(document.index(run.path.name, sentences=[str(error)], refresh=REFRESH))


class _Stamp(_Handler):
    def get(self, number: str) -> None:
        self.set_header("Content-Type", "text/plain")
        self.finish(self.run_of(number).stamp)


class _Nothing(_Handler):
    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            raise HTTPError(404, reason="Not Found")
