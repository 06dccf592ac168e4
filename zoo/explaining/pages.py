"""docs/families.md: a page per family, from the configs and the explanations of their choices."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import configs
from configs.paper import Paper, nearest
from zoo.explaining.choices import choices
from zoo.explaining.description import COLUMNS, GPT4, Description, family_members, folded, row
from zoo.explaining.drawing import draw
from zoo.explaining.explanations import AXES, EXPLANATIONS, LETTERS

INTRODUCTION = """\
Made by `python -m zoo.describe --markdown > docs/families.md`; a test keeps it current. Each family's
page draws its model and says what it chose, where its paper says so and why, and what the paper leaves
open. What a choice does, and its equation, stands once, under [The choices](#the-choices)."""


def markdown() -> str:
    """The whole of docs/families.md."""
    papers = [module.PAPER for module in configs.FAMILIES.values()]
    lines = [
        "# The nine families",
        "",
        INTRODUCTION,
        "",
        *(f"- [{each.family}](#{_anchor(each.family)}), {each.authors}" for each in papers),
        "- [The choices](#the-choices)",
        "",
        GPT4,
        "",
        "Columns of the tables of sizes:",
        "",
        *(f"- {name}: {meaning}" for name, meaning in COLUMNS.items() if meaning),
    ]
    for family in configs.FAMILIES:
        lines += ["", *_family(family)]
    return "\n".join([*lines, "", *_explanations(), ""])


def _family(family: str) -> Iterator[str]:
    paper, members = configs.FAMILIES[family].PAPER, family_members(family)
    largest = max(members, key=lambda each: each.num_params)
    model = largest.experiment.model
    yield from [f"## {paper.family}", ""]
    yield from [
        f"{paper.title}. {paper.authors}, {_link(paper.reference)}. `configs/{family}.py`.",
        "",
    ]
    yield from ["```", draw(model), "```", ""]
    made = {choice.explanation.axis: choice for choice in choices(model)}
    rows = [
        [_axis(axis), choice.name, _where(paper, axis), paper.reasons.get(axis, "")]
        for axis, choice in made.items()
    ]
    yield from _table(["", "choice", "where it stands", "why, says the paper"], rows)
    yield from _notes(
        "Other reasons that the paper gives:",
        {path: reason for path, reason in paper.reasons.items() if path not in made},
    )
    away = folded(members)
    yield from ["", *_sizes([each for each in members if each not in away])]
    if away:
        yield from ["", f"<details><summary>{len(away)} more sizes of the paper</summary>", ""]
        yield from [*_sizes(away), "", "</details>"]
    yield from _notes("Where a published number is not the model's:", paper.mismatches)
    yield from _notes("Not published, and what the zoo has instead:", paper.not_published)


def _where(paper: Paper, path: str) -> str:
    stands, left_open = nearest(path, paper.sources), nearest(path, paper.not_published)
    if stands is None:
        return "not published, see below"
    more = left_open is not None and len(left_open) > len(stands)
    return paper.sources[stands] + ("; what it does not say, see below" if more else "")


def _sizes(members: Sequence[Description]) -> Iterator[str]:
    rows = [row(each) for each in members]
    return _table(list(COLUMNS), [[f"`{name}`", *cells] for name, *cells in rows])


def _notes(title: str, notes: dict[str, str]) -> Iterator[str]:
    if notes:
        yield from ["", title, ""]
        yield from (f"- `{name}`: {note}." for name, note in notes.items())


def _explanations() -> Iterator[str]:
    yield from ["## The choices", "", "All that the zoo knows. " + LETTERS]
    for axis, kinds in groupby(EXPLANATIONS.items(), key=lambda item: item[1].axis):
        yield from ["", f"### {AXES[axis]}", ""]
        rows = [[kind, e.effect, f"`{e.equation}`", e.source] for kind, e in kinds]
        yield from _table(["choice", "what it does", "equation", "from"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def _axis(axis: str) -> str:
    return f"[{AXES[axis]}](#{_anchor(AXES[axis])})"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def _link(reference: str) -> str:
    if reference.startswith("arXiv "):
        return f"[{reference}](https://arxiv.org/abs/{reference.removeprefix('arXiv ')})"
    return f"<{reference}>" if reference.startswith("https://") else reference
