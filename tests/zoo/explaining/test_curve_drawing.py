"""Curves in Braille: four dots a line, two points a column."""

from zoo.explaining.curve_drawing import draw_curve


def drawn(values: list[float], height: int = 2) -> list[str]:
    labels = {0.0: "0", 1.0: "9"}
    return draw_curve(values, top=7, height=height, y_labels=["7", "3.5", "0"], x_labels=labels)


def test_a_line_from_the_bottom_to_the_top_passes_through_every_dot():
    assert drawn([0, 1, 2, 3, 4, 5, 6, 7]) == [
        "  7 ┤⠀⠀⡠⠊",
        "3.5 ┤⡠⠊⠀⠀",
        "  0 ┼───┴",
        "     0  9",
    ]


def test_a_step_is_joined_by_a_vertical_line():
    up, down = drawn([0, 0, 7, 7]), drawn([7, 7, 0, 0])
    assert [line[5:] for line in up[:2]] == ["⠀⡏", "⣀⠇"]
    assert [line[5:] for line in down[:2]] == ["⠉⡆", "⠀⣇"]


def test_a_constant_stays_on_its_line_and_labels_stay_inside():
    lines = draw_curve(
        [7] * 20,
        top=7,
        height=2,
        y_labels=["a", "b", "c"],
        x_labels={0: "0", 0.5: "left out", 1: "the end"},
    )
    assert lines == ["a ┤⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉", "b ┤" + 10 * "⠀", "c ┼────┴────┴", "   0  the end"]
