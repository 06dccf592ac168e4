import numpy as np
import pytest

from tests.zoo.reporting.pages import parse
from zoo.reporting.markup import Html, page
from zoo.reporting.plots import COLORS, Line, Panel, inline_svg, picture, smoothed


def panel(num_points: int = 300, **options) -> Panel:
    x = np.arange(1, num_points + 1, dtype=float)
    lines = [
        Line(f"run {i}", x, i + 5 / x, is_noisy=True, range=(1 / x, 9 / x), style=i)
        for i in range(3)
    ]
    return Panel("loss", "step", "nats", lines, {"xz -9": 1.8, "5-gram": 1.7}, **options)


@pytest.mark.parametrize("num_steps", [1, 9, 99])
def test_a_short_curve_is_left_as_it_is(num_steps):
    curve = np.arange(num_steps, dtype=float) ** 2
    np.testing.assert_allclose(smoothed(curve), curve)


def test_a_long_curve_is_averaged_over_the_fiftieth_that_ends_at_each_point():
    curve = np.arange(150, dtype=float)
    means = [0.0, 0.5, *(i - 1.0 for i in range(2, 150))]
    np.testing.assert_allclose(smoothed(curve), means)


def test_no_curve_is_no_curve():
    assert smoothed(np.zeros(0)).size == 0


@pytest.mark.parametrize("num_points", [0, 1, 300])
@pytest.mark.parametrize("options", [{}, {"cuts_start": True}])
def test_inline_pictures_have_the_colors_of_the_page_and_ids_of_their_own(num_points, options):
    svgs = [inline_svg(panel(num_points, **options), f"c{i}") for i in range(2)]
    parse(page("title", *map(Html, svgs)))
    assert not any(color in svgs[0] for color in COLORS)
    assert ("var(--c0)" in svgs[0]) == (num_points > 0)
    assert ">xz -9</text>" in svgs[0]


def test_a_picture_is_the_same_every_time():
    for kind in ("png", "svg", "pdf"):
        assert picture([panel()], kind=kind) == picture([panel()], kind=kind)


def test_the_end_of_a_run_fills_the_picture():
    from zoo.reporting import plots

    steep = Line("run", np.arange(1.0, 1001), np.where(np.arange(1000) < 20, 100.0, 2.0))
    low, high = plots._limits(Panel("loss", "step", "", [steep], cuts_start=True))
    assert low < 2.0 < high < 10
