"""Watch a run in a browser: `python -m zoo.watch runs/palm_small`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.config import check
from zoo.command_line import cli


@dataclass(frozen=True, kw_only=True)
class WatchCommand:
    """The flags of `python -m zoo.watch`."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Workdir of a run, finished or still training."""
    port: int = 8000
    """Port on this computer; 0 takes any free one."""
    refresh_s: int = 10
    """Seconds between two loads of the page by the browser."""

    def __post_init__(self):
        check(
            0 <= self.port < 65_536,
            f"--port={self.port} must be from 0 to 65535; write for example --port=8000",
        )
        check(
            self.refresh_s > 0,
            f"--refresh-s={self.refresh_s} must be above zero; write for example --refresh-s=10",
        )


def main(argv: list[str]) -> None:
    """Serve the page until Ctrl-C, which is the way to end this command: exit code 0."""
    command = cli.parse(
        WatchCommand,
        argv,
        prog="python -m zoo.watch",
        description="Show the page of a run in a browser, up to date while it trains.",
    )
    from zoo.reporting.server import PageServer  # imported late: --help answers without NumPy

    with PageServer(Path(command.run), command.port, command.refresh_s) as server:
        port = server.server_address[1]
        for line in (
            f"{server.url} shows {command.run}; Ctrl-C ends it",
            f"from another computer: ssh -L {port}:127.0.0.1:{port} THIS_HOST, then the same URL",
        ):
            cli.console.print(line, markup=False, soft_wrap=True)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            cli.console.print("ended", markup=False)


if __name__ == "__main__":
    cli.run(main)
