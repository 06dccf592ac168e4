"""Text files as documents, one at a time: plain text and JSON lines, also compressed."""

import codecs
import glob
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from data.config import Files
from data.errors import DataError

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Document:
    """One text with a name that does not depend on the machine."""

    name: str
    text: str


class _DamagedLineError(Exception):
    """A line of JSON without text. The message continues a sentence that begins with the line."""


@dataclass(frozen=True)
class TextFiles:
    """The files of a corpus in a fixed order."""

    root: Path
    """The folder that names are relative to, so that a moved folder is the same corpus."""
    paths: tuple[Path, ...]
    options: Files
    """The settings by which files become documents."""

    @classmethod
    def matching(cls, files: Files) -> "TextFiles":
        """Return the files that match a glob; `**` and `~` have their usual meaning.

        Raises DataError if there are none.
        """
        expanded = Path(os.path.expanduser(files.pattern))
        matches = set(glob.glob(str(expanded), recursive=True))  # `**/**` matches a file twice
        paths = [Path(match) for match in matches if not os.path.isdir(match)]
        if not paths:
            raise DataError(
                f"{files.setting} matches no file; write a path or a glob that does, in quotes, "
                "such as 'notes/**/*.txt'"
            )
        root = expanded.parent
        while glob.has_magic(str(root)):
            root = root.parent
        return cls.below(root, paths, files)

    @classmethod
    def below(cls, root: Path, paths: Iterable[Path], options: Files) -> "TextFiles":
        """Return these files, ordered by their names below `root`."""
        ordered = sorted(paths, key=lambda path: path.relative_to(root).as_posix())
        return cls(root, tuple(ordered), options)

    def listing(self) -> list[tuple[str, int, int]]:
        """Return absolute path, size in bytes and time of change in ns of every file.

        An equal listing shows, without reading the files, that they have not changed. Raises
        DataError if a file has vanished.
        """
        listing = []
        for path in self.paths:
            with _read_errors(path):
                stat = path.stat()
            listing.append((str(path.absolute()), stat.st_size, stat.st_mtime_ns))
        return listing

    def documents(self, skipped: list[str]) -> Iterator[Document]:
        """Read the documents, including empty ones.

        With data.on_error=skip, a message about each damaged document is added to `skipped`. Raises
        DataError if a file cannot be read, or is damaged and data.on_error is stop.
        """
        for path in self.paths:
            name = path.relative_to(self.root).as_posix()
            with _read_errors(path), open_stream(path) as stream:
                if _format_suffix(path) in _JSON_SUFFIXES:
                    yield from self._json_documents(path, name, stream, skipped)
                elif self.options.separator is not None:
                    yield from self._separated_documents(path, name, stream, skipped)
                else:
                    try:  # bytes, because reading text would change line ends
                        yield Document(name, stream.read().decode("utf-8"))
                    except UnicodeDecodeError as error:
                        self._raise_or_skip(
                            _not_utf8_message(path, error.reason, error.start), skipped
                        )

    def _json_documents(
        self, path: Path, name: str, stream: IO[bytes], skipped: list[str]
    ) -> Iterator[Document]:
        for number, line in enumerate(stream, start=1):
            if line.isspace():
                continue
            try:
                yield Document(f"{name}:{number}", self._json_text(line))
            except _DamagedLineError as error:
                self._raise_or_skip(f"{path}:{number} {error}; correct it", skipped)

    def _json_text(self, line: bytes) -> str:
        """Return the text of a line of JSON. Raises _DamagedLineError if it has none."""
        field = self.options.field
        try:
            value = json.loads(line.rstrip())
        except (ValueError, RecursionError) as error:
            raise _DamagedLineError(f"is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise _DamagedLineError("is not a JSON object")
        if field not in value:
            names = ", ".join(list(value)[:8]) or "none"
            raise _DamagedLineError(f"has no field {field!r} (it has: {names}); set data.field")
        if not isinstance(text := value[field], str):
            raise _DamagedLineError(f"has a field {field!r} that is not text; set data.field")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _DamagedLineError("has half of a surrogate pair") from error
        return text

    def _separated_documents(
        self, path: Path, name: str, stream: IO[bytes], skipped: list[str]
    ) -> Iterator[Document]:
        separator = unescaped(cast(str, self.options.separator))
        decoder = codecs.getincrementaldecoder("utf-8")()
        number, rest, num_read = 1, "", 0
        while True:
            # Reading as much as `rest` holds keeps a long document from taking quadratic time.
            content = stream.read(max(_BUFFER_BYTES, len(rest)))
            try:
                text = decoder.decode(content, final=not content)
            except UnicodeDecodeError as error:
                num_pending = len(error.object) - len(content)
                offset = num_read - num_pending + error.start
                return self._raise_or_skip(_not_utf8_message(path, error.reason, offset), skipped)
            num_read += len(content)
            *complete, rest = (rest + text).split(separator)
            if not content:
                complete.append(rest)
            for part in complete:
                yield Document(f"{name}:{number}", part)
                number += 1
            if not content:
                return

    def _raise_or_skip(self, message: str, skipped: list[str]) -> None:
        """Raise a DataError or, with data.on_error=skip, add the message to `skipped`."""
        if self.options.on_error == "stop":
            raise DataError(f"{message}, or leave out damaged text with --data.on-error=skip")
        skipped.append(message)


def unescaped(separator: str) -> str:
    r"""Replace `\n` and `\t`, two characters each in a shell's quotes, by newline and tab."""
    return separator.replace(r"\n", "\n").replace(r"\t", "\t")


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its uncompressed bytes. Raises errors that `_read_errors` translates."""
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as stream:
            yield cast(IO[bytes], stream)
    elif path.suffix == ".zst":
        import pyarrow  # takes 0.3 s; TensorFlow Datasets installs it

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield io.BufferedReader(stream, _BUFFER_BYTES)
    else:
        with path.open("rb") as stream:
            yield stream


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn the errors of opening and reading `path` into a DataError that names it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}; "
            "get it again, or narrow data.files to leave it out"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}; "
            "make it readable, or narrow data.files to leave it out"
        ) from error


def _format_suffix(path: Path) -> str:
    """Return the suffix of the file's format, without one for its compression."""
    inner = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    return inner.suffix


def _not_utf8_message(path: Path, reason: str, offset: int) -> str:
    return f"{path} is not UTF-8 text: {reason} at byte {offset}; convert it to UTF-8"
