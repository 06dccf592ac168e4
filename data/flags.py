"""The flags of a run's text: flat on the command line, one `Source` in the program."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from data.config import (
    Data,
    Files,
    Mixture,
    PaperMixture,
    Source,
    Task,
    leaves,
    with_options,
)
from data.errors import DataConfigError

_OPTIONS = {
    "module": "--data.task",
    "data_dir": "--data.task",
    "field": "--data.files",
    "separator": "--data.files",
    "on_error": "--data.files",
}
"""The fields of a task and of files that are flags, with the flag that names such a source."""


@dataclass(frozen=True, kw_only=True)
class OneTaskFlag:
    """The flag that names a task. None: not given."""

    task: Annotated[str | None, tyro.conf.arg(aliases=("--task",))] = None
    """A task or mixture of seqio: `stdlib`, the Python standard library's own source text;
    `packages`, that of the installed packages; `tiny_shakespeare`, `wiki40b_en`, `lm1b`, `c4_en`,
    `pg19` and others through TensorFlow Datasets; or one that --data.module registers."""


@dataclass(frozen=True, kw_only=True)
class TasksFlag:
    """The flag that names any number of tasks."""

    task: tyro.conf.UseAppendAction[
        Annotated[
            tuple[tuple[str, ...], ...],
            tyro.conf.arg(aliases=("--task",), metavar="TASK [TASK ...]"),
        ]
    ] = ()
    """One or more tasks or mixtures of seqio: `stdlib`, the Python standard library's own source
    text; `packages`, that of the installed packages; `tiny_shakespeare`, `wiki40b_en`, `lm1b`,
    `c4_en`, `pg19` and others through TensorFlow Datasets; or what --data.module registers."""


@dataclass(frozen=True, kw_only=True)
class OtherSourceFlags:
    """The other flags that name a source of text, and its options. None: not given."""

    files: str | None = None
    """Your own text: a glob such as 'notes/**/*.txt', also of .jsonl, and of both as .gz or .zst
    (UTF-8; a document is a file, or a line of JSON)."""
    mixture: tuple[str, ...] = ()
    """Several tasks or globs, each with the rate at which its sequences are drawn, such as
    'stdlib=3' 'notes/**/*.txt=1'. Or `paper`: the mixture of the model's paper, from those public
    stand-ins for its sources that are prepared."""
    module: str | None = None
    """With a task: a Python module that registers your own seqio tasks or mixtures on import."""
    data_dir: Annotated[str | None, tyro.conf.arg(aliases=("--data-dir",))] = None
    """With a task: the folder of TensorFlow Datasets' prepared sets, a gs:// folder too; by default
    the environment's TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    field: str | None = None
    """With files: the key of the text in a line of JSON; by default `text`."""
    separator: str | None = None
    r"""With files: the text between two documents of a text file, such as '<|endoftext|>' or
    '\n\n\n'; by default a file is one document."""
    on_error: Literal["stop", "skip"] | None = None
    """With files: what to do at a damaged line of JSON or a file that is not UTF-8. stop (the
    default), or skip: leave it out and count it."""

    def options(self) -> dict[str, Any]:
        """Return the options that are given, by field."""
        given = {name: getattr(self, name) for name in _OPTIONS}
        return {name: value for name, value in given.items() if value is not None}

    def named_sources(self, tasks: Sequence[str]) -> dict[str, Source]:
        """Return the sources that are named, `tasks` among them, each by its flag."""
        sources: dict[str, Source] = {f"--data.task={name}": Task(name) for name in tasks}
        if self.files is not None:
            sources[f"--data.files={self.files}"] = Files(self.files)
        if self.mixture:
            sources[f"--data.mixture {' '.join(self.mixture)}"] = (
                PaperMixture() if self.mixture == ("paper",) else Mixture.parse(self.mixture)
            )
        return sources

    def with_given_options(self, sources: Sequence[Source]) -> list[Source]:
        """Return the sources with the options that are given.

        Raises DataConfigError for an option that none of them has.
        """
        options = self.options()
        for name, value in options.items():
            if not any(hasattr(leaf, name) for source in sources for leaf in leaves(source)):
                raise DataConfigError(
                    f"--data.{name.replace('_', '-')}={value} does not apply to "
                    f"{' or '.join(source.setting for source in sources)}; leave it out, or name a "
                    f"source that has it with {_OPTIONS[name]}"
                )
        return [with_options(source, options) for source in sources]


@dataclass(frozen=True, kw_only=True)
class SourceFlags(OtherSourceFlags, OneTaskFlag):
    """The flags that name one source of text."""

    def named_source(self) -> Source | None:
        """Return the source that is named; None: there is none.

        Raises DataConfigError if several are.
        """
        sources = self.named_sources([] if self.task is None else [self.task])
        if len(sources) > 1:
            raise DataConfigError(
                f"{' and '.join(sources)} exclude each other; write one of them, or --data.mixture "
                "for text of several sources"
            )
        return next(iter(sources.values()), None)

    def resolve(self, default: Source) -> Source:
        """Return the source that the flags name, or `default`, with the options that are given.

        A named source keeps those options of `default` that it has and that are not given. Raises
        DataConfigError for an option that the source does not have.
        """
        named = self.named_source()
        source = default if named is None else with_options(named, _options_of(default))
        (resolved,) = self.with_given_options([source])
        return resolved


@dataclass(frozen=True, kw_only=True)
class SourcesFlags(OtherSourceFlags, TasksFlag):
    """The flags that name any number of sources of text."""

    def resolve(self, default: Source) -> list[Source]:
        """Return the sources that the flags name, tasks first; see `SourceFlags.resolve`.

        Raises DataConfigError for an option of no source.
        """
        sources = self.named_sources(list(itertools.chain(*self.task)))
        if not sources and self.options():
            flags = ", ".join(f"data.{name}" for name in self.options())
            raise DataConfigError(
                f"{flags} needs a source of text; write --data.task, --data.files or "
                "--data.mixture too"
            )
        inherited = _options_of(default)
        return self.with_given_options([with_options(s, inherited) for s in sources.values()])


def _options_of(source: Source) -> dict[str, Any]:
    """Return the options of a source, or of the parts of a mixture, by field."""
    return {
        name: getattr(leaf, name)
        for leaf in leaves(source)
        for name in _OPTIONS
        if hasattr(leaf, name)
    }


@dataclass(frozen=True, kw_only=True)
class DataFlags(Data, SourceFlags):
    """The text of a run and its order.

    Without --data.task, --data.files and --data.mixture the text is the standard library, or with
    --init-from the text of that checkpoint's run.
    """

    source: tyro.conf.Suppress[tyro.conf.Fixed[Source]] = Task()
    """The source that the flags change."""

    def to_data(self) -> Data:
        """Return the settings with the source that the flags name. Raises DataConfigError."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(Data)}
        values["source"] = self.resolve(self.source)
        return Data(**values)


REGISTRY = ConstructorRegistry()
"""The rule that gives every `Data` in a command the flags of `DataFlags`, for `tyro.cli`."""


@REGISTRY.struct_rule
def _data_from_flags(info: StructTypeInfo) -> StructConstructorSpec | None:
    if info.type is not Data:
        return None
    default = info.default if isinstance(info.default, Data) else Data()
    flags = StructFieldSpec(
        name="flags",
        # The empty name makes the flags --data.task rather than --data.flags.task.
        type=cast(type, Annotated[DataFlags, tyro.conf.arg(name="")]),
        default=DataFlags(**vars(default)),
    )
    return StructConstructorSpec(instantiate=lambda flags: flags.to_data(), fields=(flags,))
