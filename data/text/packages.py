"""The source and documentation of the installed Python packages: more text that needs no network.

Other packages are other text: the fingerprint tells. With the test extra they are some hundreds of
MB, where the standard library has 11.
"""

import hashlib
import json
import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from data.config import Files
from data.errors import DataError
from data.storage import replace_file
from data.text.corpus import SplitCorpus, file_corpus
from data.text.files import TextFiles
from data.text.stdlib import stdlib_files

_SUFFIXES = (".py", ".md", ".rst")
_SKIPPED_FOLDERS = frozenset(["test", "tests", "__pycache__", "node_modules"])
_SKIPPED_FOLDER_SUFFIXES = (".dist-info", ".egg-info")
_LICENSE = re.compile(r"(licen[sc]e|copying|notice|authors|third.?party)", re.IGNORECASE)
_GENERATED_NAME = re.compile(r"(_pb2|_pb2_grpc|(^|_)version)\.py$")
_GENERATED_TEXT = re.compile(
    r"auto-?generated|generated (by|from|using|automatically)|@generated|do not (edit|modify)",
    re.IGNORECASE,
)
_HEADER_CHARACTERS = 1_500
"""The part of a file in which it says that it was generated."""
_LONGEST_LINE = 1_000
"""Characters of a line; with a longer one, a file is data."""
_TELLING_CHARACTERS = 16
"""Characters of a line that says something: shorter ones, such as `return None`, are everywhere."""
_COPIED_SHARE = 0.5
"""The share of telling lines that makes a file a copy, if the standard library has them too."""

# Part of the key of a saved choice. Raise it when the rules above change.
_RULES_VERSION = 2


def packages_corpus(folder: Path) -> SplitCorpus:
    """Return the corpus of the installed packages. Raises as `file_corpus` does.

    Args:
      folder: the cache.
    """
    root = Path(sysconfig.get_path("purelib"))
    files = package_files(root, stdlib_files(), folder)
    return file_corpus("packages", "data.task='packages'", files, folder)


def package_files(root: Path, stdlib: TextFiles, folder: Path) -> TextFiles:
    """Return the files below `root` that people wrote to be read, each text once.

    Left out are tests, licenses, generated files, tables of data, copies of other files, and files
    of which half stands in the standard library. Which ones is kept in the cache `folder`, until a
    file changes. Raises DataError if there is none left.
    """
    options = Files(f"{root}/**/*", on_error="skip")
    candidates = TextFiles.below(root, _candidates(root), options)
    key = json.dumps([_RULES_VERSION, candidates.listing(), stdlib.listing()])
    path = folder / "packages" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    try:
        names = json.loads(path.read_bytes())
    except (OSError, ValueError):
        names = list(_written_to_be_read(candidates, stdlib))
        replace_file(path, json.dumps(names).encode())
    if not names:
        raise DataError(
            f"data.task='packages' found no text in {root}; install a package, or take another task"
        )
    return TextFiles.below(root, (root / name for name in names), options)


def _candidates(root: Path) -> Iterator[Path]:
    """Yield the files whose names say that people wrote them to be read."""
    for parent, folders, names in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name not in _SKIPPED_FOLDERS and not name.endswith(_SKIPPED_FOLDER_SUFFIXES)
        ]
        for name in names:
            path = Path(parent, name)
            if (
                name.endswith(_SUFFIXES)
                and not _LICENSE.match(name)
                and not _GENERATED_NAME.search(name)
                and path.is_file()
            ):
                yield path


def _written_to_be_read(candidates: TextFiles, stdlib: TextFiles) -> Iterator[str]:
    """Yield the names of the files that are neither generated, nor data, nor a copy."""
    known_lines = {
        line for document in stdlib.documents([]) for line in _telling_lines(document.text)
    }
    seen: set[bytes] = set()
    for document in candidates.documents([]):
        lines = [stripped for line in document.text.splitlines() if (stripped := line.strip())]
        if not lines or max(map(len, lines)) > _LONGEST_LINE:
            continue
        if _GENERATED_TEXT.search(document.text[:_HEADER_CHARACTERS]):
            continue
        # Copies that differ in white space only are one text.
        digest = hashlib.blake2b("\n".join(lines).encode(), digest_size=16).digest()
        telling = [line for line in lines if len(line) >= _TELLING_CHARACTERS]
        num_known = sum(line in known_lines for line in telling)
        if digest not in seen and num_known <= _COPIED_SHARE * len(telling):
            seen.add(digest)
            yield document.name


def _telling_lines(text: str) -> Iterator[str]:
    stripped = (line.strip() for line in text.splitlines())
    return (line for line in stripped if len(line) >= _TELLING_CHARACTERS)
