"""A server on this computer that shows the page of a run, made anew when the run has written."""

import os
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from zoo.common.errors import WorkdirError
from zoo.reporting.history import METRICS_FILE, HistoryReader
from zoo.reporting.markup import Update
from zoo.reporting.record import RECORD_FILE
from zoo.reporting.recorded_run import EVENTS_FILE, SAMPLES_FOLDER, read_run
from zoo.reporting.run_page import run_page

HOST = "127.0.0.1"
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class PageServer(ThreadingHTTPServer):
    """Serve the page of the workdir at `/`, on this computer only.

    Args:
      port: 0 takes any free one.
      refresh_s: seconds after which the browser asks again.

    Raises WorkdirError if the port is taken or the folder holds no run.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"

    def __init__(self, workdir: Path, port: int, refresh_s: int):
        self._workdir, self._live = workdir, Update(refresh_s)
        self._reader, self._lock = HistoryReader(workdir), Lock()
        self._made_of: tuple[float, ...] | None = None
        self._page = b""
        self.page()  # so that a wrong folder is told at once
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WorkdirError(
                f"--port={port} cannot be used: {reason}; name another, or 0 for any free one"
            ) from error

    @property
    def url(self) -> str:
        """The address for a browser."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def page(self) -> bytes:
        """Return the page, made anew only if a file of the run has changed."""
        with self._lock:
            made_of = self._times()
            if made_of != self._made_of:
                run = read_run(self._workdir, self._reader.read())
                # A run that has ended may be resumed: the page asks again all the same.
                self._page = run_page(run, live=self._live).encode()
                self._made_of = made_of
            return self._page

    def _times(self) -> tuple[float, ...]:
        names = (METRICS_FILE, RECORD_FILE, EVENTS_FILE, SAMPLES_FOLDER)
        paths = [self._workdir / name for name in names]
        return tuple(path.stat().st_mtime if path.exists() else 0.0 for path in paths)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        # A page elsewhere may make its own name point here; its requests carry that name.
        if self.headers.get("Host", "").rpartition(":")[0] not in _LOCAL_NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "only localhost may ask")
        elif self.path.partition("?")[0] != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send_page()

    def _send_page(self) -> None:
        try:
            page = self.server.page()
        except (WorkdirError, OSError) as error:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "no run", str(error))
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal has the address and no log."""
        del format, args
