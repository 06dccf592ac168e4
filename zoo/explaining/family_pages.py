"""A page per family, and an explanation of every choice: docs/families.md, and the site's pages."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import configs
from configs.paper import Paper, nearest
from zoo.explaining.choices import choices
from zoo.explaining.explanations import AXES, EXPLANATIONS, LETTERS
from zoo.explaining.model_card import MIXTURE_COLUMNS, ModelCard, family_cards, mixture_rows
from zoo.explaining.model_drawing import draw
from zoo.explaining.size_table import COLUMNS, GPT4, row, sizes_to_fold

INTRODUCTION = """\
Made by `python -m zoo.describe --markdown > docs/families.md`; a test keeps it current. Each
family's page draws its model and lists its choices, with their sources, the paper's reasons, and
what the paper leaves open. The effect and the equation of each choice stand once, under
[The choices](#the-choices). `--data.mixture=paper` trains at a paper's rates on those public
stand-ins for its training text that are prepared."""


def markdown() -> str:
    """Return the whole of docs/families.md."""
    papers = [module.PAPER for module in configs.FAMILIES.values()]
    lines = [
        "# The nine families",
        "",
        INTRODUCTION,
        "",
        *(f"- [{paper.family}](#{_anchor(paper.family)}), {paper.authors}" for paper in papers),
        "- [The choices](#the-choices)",
        "",
        GPT4,
        "",
        "Columns of the tables of sizes:",
        "",
        *(f"- {name}: {meaning}" for name, meaning in COLUMNS.items() if meaning),
    ]
    for family in configs.FAMILIES:
        drawing = ["```", draw(largest(family).experiment.model), "```"]
        lines += ["", f"## {configs.FAMILIES[family].PAPER.family}", "", *page(family, drawing)]
    return "\n".join([*lines, "", "## The choices", "", *explanations(), ""])


def largest(family: str) -> ModelCard:
    """Return the largest published size of a family."""
    return max(family_cards(family), key=lambda card: card.num_params)


def page(family: str, drawing: Sequence[str], *, choices_page: str = "") -> Iterator[str]:
    """Yield the lines of a family's page in Markdown, without its heading.

    Args:
      drawing: the lines that show the model.
      choices_page: the file that explains the choices; "": they stand on the same page.
    """
    paper, cards = configs.FAMILIES[family].PAPER, family_cards(family)
    experiment = largest(family).experiment
    model = experiment.model
    yield f"{paper.title}. {paper.authors}, {_link(paper.reference)}. `configs/{family}.py`."
    yield from ["", *drawing, ""]
    by_axis = {choice.explanation.axis: choice for choice in choices(model)}
    rows = [
        [_axis(axis, choices_page), choice.name, _source(paper, axis), paper.reasons.get(axis, "")]
        for axis, choice in by_axis.items()
    ]
    yield from _table(["", "choice", "source", "the paper's reason"], rows)
    data = experiment.data
    yield from ["", f"Documents in a sequence: {data.packing} ({_source(paper, 'data.packing')})."]
    style = f"{data.vocabulary_style} ({_source(paper, 'data.vocabulary_style')})"
    yield from ["", f"Tokenizer: {style}."]
    other_reasons = {path: why for path, why in paper.reasons.items() if path not in by_axis}
    yield from _notes("Other reasons that the paper gives:", other_reasons)
    folded = sizes_to_fold(cards)
    yield from ["", *_sizes([card for card in cards if card not in folded])]
    if folded:
        yield from ["", f"<details><summary>{len(folded)} more sizes of the paper</summary>", ""]
        yield from [*_sizes(folded), "", "</details>"]
    yield from ["", f"The training text ({paper.mixture_source}):", ""]
    yield from _table(MIXTURE_COLUMNS, mixture_rows(paper))
    yield from _notes("Published numbers that differ from the model's:", paper.mismatches)
    yield from _notes("Not published, and what the zoo has instead:", paper.not_published)


def _source(paper: Paper, path: str) -> str:
    source, open_path = nearest(path, paper.sources), nearest(path, paper.not_published)
    if source is None:
        return "not published, see below"
    partly_open = open_path is not None and len(open_path) > len(source)
    return paper.sources[source] + ("; for what it leaves open, see below" if partly_open else "")


def _sizes(cards: Sequence[ModelCard]) -> Iterator[str]:
    rows = [row(card) for card in cards]
    return _table(list(COLUMNS), [[f"`{name}`", *cells] for name, *cells in rows])


def _notes(title: str, notes: dict[str, str]) -> Iterator[str]:
    if notes:
        yield from ["", title, ""]
        yield from (f"- `{name}`: {note}." for name, note in notes.items())


def explanations(level: int = 3) -> Iterator[str]:
    """Yield the lines that explain every choice of the zoo, with headings of that level."""
    yield "All the choices that the zoo knows. " + LETTERS
    for axis, kinds in groupby(EXPLANATIONS.items(), key=lambda item: item[1].axis):
        yield from ["", f"{'#' * level} {AXES[axis]}", ""]
        rows = [[kind, e.effect, f"`{e.equation}`", e.source] for kind, e in kinds]
        yield from _table(["choice", "effect", "equation", "source"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def _axis(axis: str, choices_page: str) -> str:
    return f"[{AXES[axis]}]({choices_page}#{_anchor(AXES[axis])})"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def _link(reference: str) -> str:
    if reference.startswith("arXiv "):
        return f"[{reference}](https://arxiv.org/abs/{reference.removeprefix('arXiv ')})"
    return f"<{reference}>" if reference.startswith("https://") else reference
