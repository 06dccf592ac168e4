"""docs/families.md: a page per family, from the configs and the explanations of their choices."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import configs
from zoo.choices import choices
from zoo.description import GPT4, Description, family_members, in_words
from zoo.drawing import draw
from zoo.explanations import AXES, EXPLANATIONS

COMMAND = "python -m zoo.describe --markdown > docs/families.md"
INTRODUCTION = f"""\
Made by `{COMMAND}`; a test keeps it current. Each family's page says what it chose, where its paper
says so and why, and what the paper leaves open. What a choice does, and its equation, stands in
[The choices](#the-choices) at the end. FLOPs are those of training, 6N + 12LHQT; the KV cache is what
decoding needs to keep of each token of a full context, in bfloat16."""
LETTERS = """\
Every choice that the zoo knows. A is attention, F feed-forward, N(.) a norm; D is d_model, N the number
of query heads, K of key and value heads, H the width of a head, V the vocabulary, L the layers."""
FOLD_ABOVE = 12
"""Published sizes of a family, above which a page folds its table."""


def markdown() -> str:
    """The whole of docs/families.md."""
    lines = [
        "# The nine families",
        "",
        INTRODUCTION,
        "",
        *(f"- [{_title(family)}](#{family})" for family in configs.FAMILIES),
        "- [The choices](#the-choices)",
        "",
        GPT4,
    ]
    for family in configs.FAMILIES:
        lines += ["", *_family(family)]
    return "\n".join([*lines, "", *_explanations(), ""])


def _title(family: str) -> str:
    paper = configs.FAMILIES[family].PAPER
    return f"{paper.title} ({paper.authors})"


def _family(family: str) -> Iterator[str]:
    paper = configs.FAMILIES[family].PAPER
    members = family_members(family)
    published = [each for each in members if each.reported_params is not None]
    largest = max(published, key=lambda each: each.num_params)
    model, made = largest.experiment.model, choices(largest.experiment.model)
    yield from [
        f"## {family}",
        "",
        f"{paper.title}. {paper.authors}, {_link(paper.reference)}.",
        "",
    ]
    yield from ["```", draw(model), "```", ""]
    axes = {choice.explanation.axis: choice for choice in made}
    yield from _table(
        ["", "choice", "where it stands", "why, says the paper"],
        [
            [
                f"[{AXES[axis]}](#{_anchor(AXES[axis])})",
                choice.name,
                paper.source(axis),
                paper.reasons.get(axis, ""),
            ]
            for axis, choice in axes.items()
        ],
    )
    others = [path for path in paper.reasons if path not in axes]
    if others:
        yield from ["", "Other reasons that the paper gives:", ""]
        yield from (f"- `{path}`: {paper.reasons[path]}" for path in others)
    yield ""
    scaled = [each for each in members if each.reported_params is None]
    if len(published) > FOLD_ABOVE:
        yield from _sizes([largest])
        yield from [
            "",
            f"<details><summary>The {len(published) - 1} other published sizes</summary>",
        ]
        yield from ["", *_sizes([each for each in published if each is not largest])]
        yield from ["", "</details>"]
    else:
        yield from _sizes(published)
    yield from [
        "",
        "In no paper: "
        + " and ".join(f"`{each.name}` with {each.num_params:,} parameters" for each in scaled)
        + ".",
    ]
    if paper.mismatches:
        yield from ["", "Where the published count is not the model's:", ""]
        yield from (f"- `{name}`: {text}." for name, text in paper.mismatches.items())
    yield from ["", f"Not published, and what `configs/{family}.py` has instead:", ""]
    keys = (*paper.sources, *paper.not_published)
    yield from (
        f"- `{path}`, here `{in_words(largest.value(path), path, keys)}`: {text}."
        for path, text in paper.not_published.items()
    )


def _sizes(members: Sequence[Description]) -> list[str]:
    header = ["model", "parameters", "published", "layers", "d_model", "heads", "d_ff", "context",
              "training FLOPs a token", "KV cache bytes a token", "tokens a parameter"]  # fmt: skip
    rows = []
    for each in members:
        model, attention = each.experiment.model, each.experiment.model.attention
        heads = f"{attention.num_heads} x {attention.head_dim}"
        if attention.num_kv_heads != attention.num_heads:
            heads += f", {attention.num_kv_heads} of keys and values"
        cache = f"{each.kv_cache_bytes_per_token:,.0f}"
        if each.zoo_kv_cache_bytes_per_token != each.kv_cache_bytes_per_token:
            cache += f" (the zoo keeps {each.zoo_kv_cache_bytes_per_token:,.0f})"
        rows.append(
            [f"`{each.name}`", f"{each.num_params:,}", each.reported_params or "",
             str(model.num_layers), f"{model.d_model:,}", heads, f"{model.feed_forward.d_ff:,}",
             f"{model.context_length:,}", f"{each.flops_per_token:.3e}", cache,
             f"{each.tokens_per_param:.3g}"]
        )  # fmt: skip
    return list(_table(header, rows))


def _explanations() -> Iterator[str]:
    yield from [
        "## The choices",
        "",
        LETTERS,
    ]
    for axis, kinds in groupby(EXPLANATIONS.items(), key=lambda item: item[1].axis):
        yield from ["", f"### {AXES[axis]}", ""]
        rows = [[kind, e.effect, f"`{e.equation}`", e.source] for kind, e in kinds]
        yield from _table(["choice", "what it does", "equation", "from"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def _link(reference: str) -> str:
    if reference.startswith("arXiv "):
        return f"[{reference}](https://arxiv.org/abs/{reference.removeprefix('arXiv ')})"
    return f"<{reference}>" if reference.startswith("https://") else reference


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
