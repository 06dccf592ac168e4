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
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Document:
    """One text with a name that does not depend on the machine."""

    name: str
    text: str


class _DamagedLineError(Exception):
    """What is wrong with a line of JSON."""


@dataclass(frozen=True)
class TextFiles:
    """The files of a corpus in a fixed order.

    Attributes:
      root: what the documents' names leave out, so that a moved folder is the same corpus.
      paths: the files.
      options: how they become documents.
    """

    root: Path
    paths: tuple[Path, ...]
    options: Files

    @classmethod
    def matching(cls, files: Files) -> "TextFiles":
        """The files that match a glob; `**` and `~` have their usual meaning.

        Raises:
          DataError: there are none.
        """
        expanded = Path(os.path.expanduser(files.pattern))
        matches = glob.glob(str(expanded), recursive=True)
        paths = [Path(match) for match in matches if not os.path.isdir(match)]
        if not paths:
            raise DataError(
                f"{files.setting} matches no file. Give a path or a glob that does, in "
                "quotes, such as 'notes/**/*.txt'."
            )
        root = expanded.parent
        while glob.has_magic(str(root)):
            root = root.parent
        return cls.below(root, paths, files)

    @classmethod
    def below(cls, root: Path, paths: Iterable[Path], options: Files) -> "TextFiles":
        """These files, ordered by their names below `root`."""
        ordered = sorted(paths, key=lambda path: path.relative_to(root).as_posix())
        return cls(root, tuple(ordered), options)

    def listing(self) -> list[tuple[str, int, int]]:
        """Absolute path, size in bytes and time of change in ns of every file: what tells, without
        reading them, that the files are those of last time.

        Raises:
          DataError: a file has vanished.
        """
        found = []
        for path in self.paths:
            with _explained(path):
                stat = path.stat()
            found.append((str(path.absolute()), stat.st_size, stat.st_mtime_ns))
        return found

    def documents(self, skipped: list[str]) -> Iterator[Document]:
        """Reads the documents, the empty ones too.

        Args:
          skipped: takes a message for each that data.on_error=skip leaves out.

        Raises:
          DataError: a file cannot be read, or is damaged and data.on_error is not skip.
        """
        for path in self.paths:
            name = path.relative_to(self.root).as_posix()
            with _explained(path), open_stream(path) as stream:
                if _kind(path) in _JSON_SUFFIXES:
                    yield from self._json_lines(path, name, stream, skipped)
                elif self.options.separator is not None:
                    yield from self._separated(path, name, stream, skipped)
                else:
                    try:  # bytes: line ends stay as they are
                        yield Document(name, stream.read().decode("utf-8"))
                    except UnicodeDecodeError as error:
                        self._damaged(_not_utf8(path, error.reason, error.start), skipped)

    def _json_lines(
        self, path: Path, name: str, stream: IO[bytes], skipped: list[str]
    ) -> Iterator[Document]:
        for number, line in enumerate(stream, start=1):
            if line.isspace():
                continue
            try:
                yield Document(f"{name}:{number}", self._text_of(line))
            except _DamagedLineError as error:
                self._damaged(f"{path}:{number} {error} Mend it", skipped)

    def _text_of(self, line: bytes) -> str:
        """Raises _DamagedLineError saying what is wrong with a line of JSON."""
        field = self.options.field
        try:
            value = json.loads(line.rstrip())
        except (ValueError, RecursionError) as error:
            raise _DamagedLineError(f"is not JSON: {error}.") from error
        if not isinstance(value, dict):
            raise _DamagedLineError("is not a JSON object.")
        if field not in value:
            near = ", ".join(list(value)[:8]) or "none"
            raise _DamagedLineError(f"has no field {field!r}; it has: {near}. Set data.field.")
        if not isinstance(text := value[field], str):
            raise _DamagedLineError(f"has a {field!r} that is not text. Set data.field.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _DamagedLineError("holds half of a surrogate pair.") from error
        return text

    def _separated(
        self, path: Path, name: str, stream: IO[bytes], skipped: list[str]
    ) -> Iterator[Document]:
        separator = unescaped(cast(str, self.options.separator))
        decoder = codecs.getincrementaldecoder("utf-8")()
        number, rest, position = 1, "", 0
        while True:
            chunk = stream.read(max(_CHUNK_BYTES, len(rest)))  # grows with a long document
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                pending = len(error.object) - len(chunk)
                at = position - pending + error.start
                return self._damaged(_not_utf8(path, error.reason, at), skipped)
            position += len(chunk)
            *whole, rest = (rest + text).split(separator)
            if not chunk:
                whole.append(rest)
            for part in whole:
                yield Document(f"{name}:{number}", part)
                number += 1
            if not chunk:
                return

    def _damaged(self, message: str, skipped: list[str]) -> None:
        if self.options.on_error == "stop":
            raise DataError(f"{message}, or leave such out with --data.on-error=skip.")
        skipped.append(message)


def unescaped(separator: str) -> str:
    r"""The separator that was meant: in a shell's quotes `\n` and `\t` are two characters each."""
    return separator.replace(r"\n", "\n").replace(r"\t", "\t")


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, uncompressed. Raises what the formats raise: see `_explained`."""
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as stream:
            yield cast(IO[bytes], stream)
    elif path.suffix == ".zst":
        import pyarrow  # 0.3 s, and TensorFlow Datasets has it with it

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield io.BufferedReader(stream, _CHUNK_BYTES)
    else:
        with path.open("rb") as stream:
            yield stream


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What opening or reading `path` raises becomes a DataError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}. "
            "Get it again, or narrow data.files so that it is left out."
        ) from error
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror or error}. "
            "Make it readable, or narrow data.files so that it is left out."
        ) from error


def _kind(path: Path) -> str:
    """The suffix that says what is inside, below the one that says how it is compressed."""
    inner = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    return inner.suffix


def _not_utf8(path: Path, reason: str, position: int) -> str:
    return f"{path} is not UTF-8 text: {reason} at byte {position}. Convert it to UTF-8"
