"""docs/families.md is current, and GitHub can show it."""

import re
from itertools import groupby
from pathlib import Path

import configs
from zoo import describe
from zoo.explaining import family_pages
from zoo.explaining.explanations import EXPLANATIONS
from zoo.explaining.model_card import family_cards
from zoo.explaining.model_drawing import draw
from zoo.explaining.size_table import GPT4

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_current(run_here):
    written = (DOCS / "families.md").read_text(encoding="utf-8")
    outcome = run_here(describe.main, "--markdown")
    assert outcome.stdout == written, "python -m zoo.describe --markdown > docs/families.md"


def test_every_family_has_its_drawing_its_sizes_and_what_its_paper_leaves_open():
    page = family_pages.markdown()
    assert GPT4 in page
    for family, module in configs.FAMILIES.items():
        section = page.split(f"\n## {module.PAPER.family}\n")[1].split("\n## ")[0]
        assert draw(module.FAMILY[f"{family}_small"].model) in section
        for card in family_cards(family):
            assert f"| `{card.name}` |" in section
            assert f"| {card.num_params:,} | {card.reported_params or '-'} |" in section
        for notes in (module.PAPER.mismatches, module.PAPER.not_published):
            assert all(f"- `{name}`: {note}." in section for name, note in notes.items())
        assert all(reason in section for reason in module.PAPER.reasons.values())
        assert all(f"| {source.name} | " in section for source in module.PAPER.mixture)
        assert "Documents in a sequence: unmasked (" in section


def test_every_choice_is_explained_once():
    page = family_pages.markdown()
    for kind, explanation in EXPLANATIONS.items():
        assert page.count(f"| {kind} | {explanation.effect} | `{explanation.equation}` |") == 1


def test_tables_have_one_width_and_stand_between_empty_lines():
    lines = [*re.sub(r"```.*?```", "", family_pages.markdown(), flags=re.DOTALL).splitlines(), ""]
    blocks = [(table, list(block)) for table, block in groupby(lines, lambda at: at[:1] == "|")]
    tables = [i for i, (table, _) in enumerate(blocks) if table]
    assert len(tables) > 20
    for i in tables:
        block = blocks[i][1]
        assert blocks[i - 1][1][-1] == blocks[i + 1][1][0] == ""
        assert re.fullmatch(r"\|( --- \|)+", block[1])
        assert len({line.count("|") for line in block}) == 1


def test_links_within_the_page_lead_to_headings():
    page = family_pages.markdown()
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#(.*?)\)", page))
    assert len(links) > 15
    assert links <= anchors
    assert len(headings) == len(anchors)
