import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.zoo.reporting.browser import load, needs_browser
from tests.zoo.reporting.pages import parse
from tests.zoo.reporting.runs import make_run, row, write_rows
from zoo.common.errors import WorkdirError
from zoo.reporting.server import PageServer


@contextmanager
def serving(workdir: Path, refresh_s: int = 1) -> Iterator[PageServer]:
    with PageServer(workdir, 0, refresh_s) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server: PageServer, path: str = "/", host: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_the_page_follows_the_run(tmp_path):
    workdir = make_run(tmp_path / "run", outcome=None)
    with serving(workdir) as server:
        status, first = get(server)
        assert status == 200
        assert "step 4 of 20" in parse(first).text
        assert get(server) == (200, first)
        write_rows(workdir, [row(5, loss=1.0)])
        assert "step 5 of 20" in parse(get(server)[1]).text


def test_only_this_computer_and_only_the_page(tmp_path):
    with serving(make_run(tmp_path / "run")) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert get(server, host="localhost:80")[0] == 200
        assert get(server, host="evil.example:80")[0] == 403
        assert get(server, path="/../config.json")[0] == 404


def test_a_run_that_vanishes_is_an_answer_and_no_crash(tmp_path):
    workdir = make_run(tmp_path / "run")
    with serving(workdir) as server:
        shutil.rmtree(workdir)
        assert get(server)[0] == 503
        make_run(workdir)
        assert get(server)[0] == 200


def test_a_port_that_is_taken_is_named(tmp_path):
    workdir = make_run(tmp_path / "run")
    with serving(workdir) as server:
        port = server.server_address[1]
        with pytest.raises(WorkdirError, match=f"--port={port} cannot be used: Address already"):
            PageServer(workdir, port, 1)


@needs_browser
def test_a_browser_shows_the_page_and_takes_the_new_one_while_a_run_goes_on(tmp_path, monkeypatch):
    workdir = make_run(tmp_path / "run", outcome=None)
    with serving(workdir) as server:
        page, asked = server.page, []

        def page_of_a_run_that_goes_on() -> bytes:
            asked.append(len(asked))
            if len(asked) == 2:
                write_rows(workdir, [row(17, loss=0.5)])
            return page()

        monkeypatch.setattr(server, "page", page_of_a_run_that_goes_on)
        document, log = load(server.url, tmp_path / "profile")
    assert len(asked) >= 2
    shown = parse(document)
    assert "step 17 of 20" in shown.text
    assert "CONSOLE" not in log  # what a policy refused, or a script that failed
