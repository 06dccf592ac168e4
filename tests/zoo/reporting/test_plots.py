import re

import numpy as np
import pytest

from tests.zoo.reporting.pages import parse
from zoo.common.html import Html
from zoo.reporting import svg as svg_module
from zoo.reporting.markup import page
from zoo.reporting.plots import Line, Panel, picture, smoothed
from zoo.reporting.svg import svg


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


@pytest.mark.parametrize("num_points", [0, 1, 3000])
@pytest.mark.parametrize("shows", ["all", "end", "usual"])
def test_inline_pictures_are_well_formed_and_have_the_colors_of_the_page(num_points, shows):
    drawn = svg(panel(num_points, shows=shows, marks={2: "<rewind>"}))
    parse(page("title", Html(drawn)))
    assert "nan" not in drawn
    assert "#" not in drawn
    assert ("var(--c2)" in drawn) == (num_points > 0)
    assert ">xz -9</text>" in drawn
    assert "<title>&lt;rewind&gt;</title>" in drawn
    assert len(drawn) < 80_000


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (0, 41, ["0", "10", "20", "30", "40"]),
        (1.2, 2.9, ["1.25", "1.50", "1.75", "2.00", "2.25", "2.50", "2.75"]),
        (0, 5e4, ["0", "10k", "20k", "30k", "40k", "50k"]),
        (-2, 2, ["-2.0", "-1.5", "-1.0", "-0.5", "0.0", "0.5", "1.0", "1.5", "2.0"]),
        (0, 3e-6, ["0", "5e-07", "1e-06", "1.5e-06", "2e-06", "2.5e-06", "3e-06"]),
    ],
)
def test_the_numbers_of_an_axis_are_round(low, high, numbers):
    axis = svg_module._Axis(low, high, 0.0, 100.0)
    assert [number for _, number in axis.ticks()] == numbers


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_is_the_same_every_time(kind):
    assert picture([panel()], kind=kind) == picture([panel()], kind=kind)


def test_the_end_of_a_run_fills_the_picture():
    steep = Line("run", np.arange(1.0, 1001), np.where(np.arange(1000) < 20, 100.0, 2.0))
    low, high = Panel("loss", "step", "", [steep], shows="end").y_range()
    assert low < 2.0 < high < 10


def test_a_log_axis_places_powers_of_ten_evenly_and_unjoined_points_have_no_line():
    x = np.array([1e18, 1e19, 1e20, 1e21])
    points = Line("runs", x, x**0.5, is_joined=False)
    panel = Panel("best size", "FLOPs", "parameters", [points], scales=("log", "log"))
    drawn = svg(panel)
    assert 'class="line"' not in drawn
    places = [
        (float(a), float(b))
        for a, b in re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', drawn)
    ]
    steps = np.diff(places, axis=0)
    assert len(places) == 4
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=0.2)
    for tick in ("1e18", "1e19", "1e20", "1e21"):
        assert f">{tick}</text>" in drawn
    assert picture([panel], kind="png").startswith(b"\x89PNG")
