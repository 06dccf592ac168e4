"""Compare runs: `python -m zoo.compare runs/palm_small runs/llama_small`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from models.config import check
from zoo.command_line import cli
from zoo.common.errors import WorkdirError
from zoo.explaining.terminal import stdout_console

_KINDS = (".html", ".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """The flags of `python -m zoo.compare`."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN")]
    """Workdirs of runs, finished or still training."""
    out: str = "compare.html"
    """File to write: .html has curves and tables; .png, .svg and .pdf have the curves alone."""
    over: Literal["tokens", "steps", "flops"] = "tokens"
    """The horizontal axis; flops are those of training, by PaLM's convention."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""

    def __post_init__(self):
        check(len(self.runs) >= 1, "no run is named; write for example runs/palm_small")
        check(
            Path(self.out).suffix in _KINDS,
            f"--out={self.out} must end in {', '.join(_KINDS[:-1])} or {_KINDS[-1]}; write for "
            "example --out=compare.html",
        )


def main(argv: list[str]) -> None:
    """Print the tables and write the page or the picture."""
    command = cli.parse(
        CompareCommand,
        argv,
        prog="python -m zoo.compare",
        description="Compare runs: configs, curves and final numbers. They may still be training.",
    )
    # Imported late: --help answers without NumPy.
    from zoo.reporting.comparison import Comparison
    from zoo.reporting.comparison_page import comparison_page, comparison_picture, show_comparison
    from zoo.reporting.record import write_whole
    from zoo.reporting.recorded_run import read_run

    comparison = Comparison([read_run(Path(run)) for run in command.runs])
    out = Path(command.out)
    kind = out.suffix.removeprefix(".")
    content = (
        comparison_page(comparison, command.over)
        if kind == "html"
        else comparison_picture(comparison, command.over, kind)
    )
    try:
        write_whole(out, content)
    except OSError as error:
        raise WorkdirError(
            f"--out={out} cannot be written: {error.strerror}; name another file"
        ) from error
    if command.json:
        print(json.dumps({**comparison.to_json(), "out": str(out)}))
    else:
        show_comparison(comparison, stdout_console())
        cli.console.print(f"\nwrote {out}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(main)
