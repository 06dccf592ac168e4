"""A paper's mixture of sources, read from the public sets that stand in for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from data.config import Mixture, PaperMixture, Part, PublishedSource, Task
from data.errors import DataConfigError, DataError
from data.text import tfds_sets


@dataclass(frozen=True)
class StandIns:
    """The sources of a paper, divided by whether a set stands in for them and is prepared."""

    read: tuple[PublishedSource, ...]
    unprepared: tuple[PublishedSource, ...]
    without: tuple[PublishedSource, ...]
    """Sources for which no set stands in."""

    @classmethod
    def find(cls, mixture: PaperMixture) -> "StandIns":
        """Look on the disk. Raises DataError if no stand-in is prepared, or there are no sources.

        Nothing but the presence of each set is checked.
        """
        if not mixture.sources:
            raise DataConfigError(
                f"{mixture.setting} needs a command that takes --model, whose paper it is; write "
                "the parts, such as --data.mixture c4_en=3 pg19=1"
            )
        groups: dict[str, list[PublishedSource]] = {"read": [], "unprepared": [], "without": []}
        for source in mixture.sources:
            if source.stand_in is None:
                groups["without"].append(source)
            elif tfds_sets.is_prepared(source.stand_in, mixture.data_dir):
                groups["read"].append(source)
            else:
                groups["unprepared"].append(source)
        found = cls(**{name: tuple(sources) for name, sources in groups.items()})
        if not found.read:
            raise DataError(_not_prepared(found.unprepared, mixture))
        return found

    def mixture(self, data_dir: str | None) -> Mixture:
        """Return the tasks to read; one that stands in for several sources has all their rates."""
        rates: dict[str, Fraction] = {}
        for source in self.read:
            name = str(source.stand_in)
            rates[name] = rates.get(name, Fraction(0)) + Fraction(str(source.percent))
        return Mixture(
            tuple(Part(Task(name, data_dir=data_dir), rate) for name, rate in rates.items())
        )

    def describe(self) -> Iterator[str]:
        """Yield lines for people: what stands in for what, and what is left out."""
        percent = sum(source.percent for source in self.read)
        yield f"the paper's mixture, {percent:g}% of it from stand-ins: {_pairs(self.read)}"
        left_out = []
        if self.unprepared:
            left_out.append(f"for lack of a prepared stand-in {_pairs(self.unprepared)}")
        if self.without:
            names = ", ".join(f"{source.name} {source.percent:g}%" for source in self.without)
            left_out.append(f"for lack of any {names}")
        if left_out:
            yield f"left out, with the other rates scaled up: {'; '.join(left_out)}"


def _pairs(sources: Iterable[PublishedSource]) -> str:
    return ", ".join(f"{s.name} {s.percent:g}% ({s.stand_in})" for s in sources)


def _not_prepared(sources: Iterable[PublishedSource], mixture: PaperMixture) -> str:
    folder = tfds_sets.data_folder(mixture.data_dir)
    tasks = sorted({str(source.stand_in) for source in sources})
    commands = "\n".join(
        f"  python -m data.prepare --task={task} --data-dir={folder}" for task in tasks
    )
    return (
        f"{mixture.setting} finds none of its stand-ins in {folder}: {_pairs(sources)}; prepare at "
        f"least one with\n{commands}\nor name their folder with data.data_dir or TFDS_DATA_DIR"
    )
