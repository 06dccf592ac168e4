"""The source of Python's standard library: text that every machine has."""

import sysconfig
from pathlib import Path

from data.config import Files
from data.text.corpus import SplitCorpus, file_corpus
from data.text.files import TextFiles

# Not code that the standard library's authors wrote to be read: tests, programs with their own
# history, installed packages, and tables that differ from build to build.
_SKIPPED_FOLDERS = frozenset(
    ["test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip"]
    + ["site-packages", "dist-packages", "__pycache__"]
)
_SKIPPED_PREFIX = "_sysconfigdata"


def stdlib_corpus(folder: Path) -> SplitCorpus:
    """Return the corpus of the standard library. Raises as `file_corpus` does."""
    return file_corpus("stdlib", "data.task='stdlib'", stdlib_files(), folder)


def stdlib_files() -> TextFiles:
    """Return the source files of the standard library, about 11 MB without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return TextFiles.below(
        root,
        (
            path
            for path in root.rglob("*.py")
            if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts)
            and not path.name.startswith(_SKIPPED_PREFIX)
        ),
        Files(f"{root}/**/*.py"),
    )
