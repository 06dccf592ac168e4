"""The file of a command's --out: a page or a picture, checked first and written whole."""

from pathlib import Path

from models.config import check
from zoo.common.errors import WorkdirError
from zoo.reporting.record import write_whole

PICTURES = (".png", ".svg", ".pdf")
"""Ends of the names of pictures, which have curves alone; a page ends in .html."""


def check_out(out: str, kinds: tuple[str, ...]) -> None:
    """Raise ConfigError unless the file ends in one of `kinds` and its folder is there."""
    check(
        Path(out).suffix in kinds,
        f"--out={out} must end in {', '.join(kinds)}; write for example --out=a.html",
    )
    check(Path(out).parent.is_dir(), f"--out={out} cannot be written: make its folder first")


def write_out(out: str, content: str | bytes) -> None:
    """Write the file. Raises WorkdirError if that fails."""
    try:
        write_whole(Path(out), content)
    except OSError as error:
        raise WorkdirError(
            f"--out={out} cannot be written: {error.strerror}; name another file"
        ) from error
