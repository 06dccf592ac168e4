"""The table of sizes: its rows, its columns on a narrow terminal, and the family that is folded."""

import io

import pytest
from rich.console import Console

import configs
from zoo.explaining.model_card import family_cards, model_card
from zoo.explaining.size_table import COLUMNS, row, show_zoo, sizes_to_fold


def table(width: int) -> str:
    """Return the table as a terminal of that width gets it."""
    file = io.StringIO()
    zoo = [family_cards(family) for family in configs.FAMILIES]
    show_zoo(zoo, Console(file=file, width=width), fold=True)
    return file.getvalue()


def test_only_chinchillas_many_sizes_are_folded():
    for family in configs.FAMILIES:
        folded = [card.name for card in sizes_to_fold(family_cards(family))]
        assert len(folded) == (50 if family == "chinchilla" else 0)
        assert "chinchilla_70b" not in folded


def test_a_row_has_a_cell_for_every_column():
    cells = dict(zip(COLUMNS, row(model_card("palm_8b")), strict=True))
    assert cells["heads"] == "16 (1) x 256"
    assert cells["parameters"] == "8,632,012,800"
    assert cells["FLOPs"] == "5.50e10"  # Table 22
    assert dict(zip(COLUMNS, row(model_card("gpt1_nano")), strict=True))["published"] == "-"


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_terminal_gets_what_fits_and_is_told_what_does_not(width):
    text = table(width)
    assert max(map(len, text.splitlines())) <= width
    shown = next(line for line in text.splitlines() if line.startswith("model ")).split()
    assert {"model", "layers", "parameters", "published", "tok/par"} <= set(shown)
    left_out = [line.split()[0] for line in text.splitlines() if "left out to fit" in line]
    assert left_out == [name for name in COLUMNS if name.split()[0] not in shown]
    assert (left_out == []) == (width == 120)


def test_folded_sizes_are_named_with_the_flag_that_shows_them():
    text = table(120)
    shown = [line.split()[0] for line in text.splitlines() if line.split(" ")[0] in configs.MODELS]
    assert "chinchilla_70b" in shown
    assert len(shown) == len(configs.MODELS) - 50
    assert "50 sizes from chinchilla_44m to chinchilla_16183m: --family=chinchilla" in text
