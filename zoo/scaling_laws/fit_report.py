"""A fit as tables, in a terminal and as a page with its pictures."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from zoo.common.html import element
from zoo.explaining.tables import Table, count
from zoo.reporting.markup import figure, page, section, sections, table_section, tiles
from zoo.reporting.plots import Line, Panel
from zoo.scaling_laws.approaches import Estimate, Interval
from zoo.scaling_laws.fit import CONSTANTS, Fit
from zoo.scaling_laws.isoflop import envelope
from zoo.scaling_laws.parametric import log_errors

INTERVALS = "Intervals reach from the 10th to the 90th percentile of bootstrap samples."


def fit_tables(fit: Fit) -> list[Table]:
    """Return the tables of a fit."""
    names = [_name(fit, estimate) for estimate in fit.estimates]
    found = [_constants(fit, names), *_left_out(fit)]
    found += [_optima(fit, e, name) for e, name in zip(fit.estimates, names, strict=True)]
    found += [_held_out(fit), *_next_runs(fit), *_conventions(fit)]
    if fit.warnings:
        found.append(Table("Warnings", (), (), fit.warnings))
    return found


def _name(fit: Fit, estimate: Estimate) -> str:
    left_out = len(fit.points) - len(estimate.points)
    return f"without {left_out} runs" if left_out else f"all {len(fit.points)} runs"


def _constants(fit: Fit, names: Sequence[str]) -> Table:
    rows = []
    for name in CONSTANTS:
        cells = ["a = beta / (alpha + beta)" if name == "exponent" else name]
        for estimate in fit.estimates:
            value = getattr(estimate.found.law, name)
            cells += [_constant(value), _range(estimate.constant(name), _constant)]
        rows.append(cells)
    head = ["", *(cell for name in names for cell in (name, "interval"))]
    note = "Huber loss of log L, minimised with L-BFGS from a grid of starts. " + INTERVALS
    return Table("The law L(N, D) = E + A / N^alpha + B / D^beta", head, rows, [note])


def _constant(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e7 else f"{value:.4g}"


def _range(interval: Interval | None, form: Callable[[float], str]) -> str:
    return "-" if interval is None else f"{form(interval[0])} to {form(interval[1])}"


def _left_out(fit: Fit) -> Iterator[Table]:
    if not fit.left_out:
        return
    p = fit.points
    rows = [
        [
            str(number),
            f"{p.rows[e.index]}",
            *(count(values[e.index]) for values in (p.params, p.tokens)),
            f"{p.tokens_per_param[e.index]:.3g}",
            f"{p.loss[e.index]:.3f}",
            f"{e.deviations:+.1f}",
            *(_constant(getattr(e.law, name)) for name in CONSTANTS),
        ]
        for number, e in enumerate(fit.left_out, 1)
    ]
    head = ("left out", "run", "N", "D", "D/N", "loss", "deviations", *CONSTANTS[:-1], "a")
    note = (
        "One at a time, the run furthest from the law of those that are left, in robust deviations "
        "of log L; the constants are those without it and the runs above it. --leave-out=N stops "
        "after N runs, --leave-out=0 keeps all."
    )
    yield Table("Runs that do not fit the law", head, rows, [note])


def _optima(fit: Fit, estimate: Estimate, name: str) -> Table:
    rows = []
    for approach, optimum in estimate.found.optima.items():
        params, tokens = optimum.params(fit.flops), optimum.tokens(fit.flops)
        rows.append(
            [
                approach,
                f"{optimum.exponent:.3f}",
                _range(estimate.exponent(approach), "{:.3f}".format),
                count(params),
                _range(estimate.params(approach, fit.flops), count),
                count(tokens),
                f"{tokens / params:.3g}",
            ]
        )
    head = ("approach", "a", "interval", "N", "interval", "D", "D/N")
    exact, notes = fit.parabolas_without_noise(estimate), []
    if exact is not None:
        notes.append(
            f"In exact losses of the law with a = {estimate.found.law.exponent:.3f}, parabolas on "
            f"this grid would find a = {exact.exponent:.3f}: a bias that no further seed removes."
        )
    return Table(f"The best model for {fit.flops:.3g} FLOPs, {name}", head, rows, notes)


def _held_out(fit: Fit) -> Table:
    rows = [
        [f"{e.flops:.3g}", str(e.num_runs), f"{100 * e.mean:+.2f} %", f"{100 * e.rms:.2f} %"]
        for e in fit.held_out
    ]
    head = ("budget in FLOPs", "runs", "mean error", "rms error")
    note = "The law of all other runs predicts each budget; the last one is an extrapolation."
    return Table("Leave one budget out", head, rows, [note if rows else "No budget to leave out."])


def _next_runs(fit: Fit) -> Iterator[Table]:
    if not fit.next_runs:
        return
    rows = [
        [f"{e.flops:.3g}", count(e.params), count(e.tokens), f"{e.before:.4f}", f"{e.after:.4f}"]
        for e in fit.next_runs
    ]
    head = ("FLOPs", "N", "D", "sd of a now", "with this run")
    note = (
        "The run that narrows a most, within the largest run's FLOPs and within three times as "
        "many, by the law linearised at its fit and the noise of its errors."
    )
    yield Table("The next run", head, rows, [note])


def _conventions(fit: Fit) -> Iterator[Table]:
    if not fit.conventions:
        return
    rows = [[e.params, e.flops, f"{e.exponent:.3f}"] for e in fit.conventions]
    note = "The same runs: only the counting differs. Kaplan et al. report 0.73, Chinchilla 0.5."
    yield Table("Conventions", ("N", "C", "a of N_opt ~ C^a"), rows, [note])


def fit_page(fit: Fit, source: str) -> str:
    """Return the page as HTML.

    Args:
      source: the file of the points, as the command line names it.
    """
    law = fit.law
    optimum = law.optimum
    params, tokens = optimum.params(fit.flops), optimum.tokens(fit.flops)
    main = tiles(
        [
            ("runs", str(len(fit.points)), f"{len(fit.left_out)} of them left out"),
            ("a", f"{law.exponent:.3f}", _range(fit.best.constant("exponent"), "{:.3f}".format)),
            ("best N", count(params), f"for {fit.flops:.2g} FLOPs"),
            ("best D", count(tokens), f"{tokens / params:.3g} tokens per parameter"),
        ]
    )
    parts = [table_section(each) for each in fit_tables(fit)]
    curves = section("Curves", element("div", *map(figure, fit_panels(fit)), class_="charts"))
    title = f"Scaling law of {source}"
    return page(title, element("h1", title), main, sections(curves, *parts))


def fit_panels(fit: Fit) -> list[Panel]:
    """Return the losses of each budget, the best sizes, and the errors of the law."""
    panels = [_optimum_panel(fit), _error_panel(fit)]
    return [_budget_panel(fit), *panels] if fit.best.found.parabolas else panels


def _budget_panel(fit: Fit) -> Panel:
    lines = []
    for style, parabola in enumerate(fit.best.found.parabolas):
        sizes, losses = parabola.points.params, parabola.points.loss
        lines.append(Line("", sizes, losses, style=style, is_joined=False))
        x = np.geomspace(sizes.min(), sizes.max(), 60)
        lines.append(Line(f"{parabola.flops:.2g} FLOPs", x, parabola.at(x), style=style))
    return Panel(
        "loss of each budget, with its parabola", "parameters", "nats per token", lines,
        scales=("log", "linear"),
    )  # fmt: skip


def _optimum_panel(fit: Fit) -> Panel:
    flops = fit.points.flops
    x = np.geomspace(flops.min(), max(flops.max(), fit.flops), 60)
    lines = []
    for style, (name, optimum) in enumerate(fit.best.found.optima.items()):
        lines.append(Line(name, x, np.array([optimum.params(c) for c in x]), style=style))
    used = [each for each in fit.best.found.parabolas if each.is_bracketed]
    flops, params = np.array([[each.flops, each.params] for each in used]).reshape(-1, 2).T
    frontier = envelope(fit.best.points)
    lines.append(Line("", flops, params, style=2, is_joined=False))
    lines.append(Line("", frontier.flops, frontier.params, style=3, is_joined=False))
    return Panel(
        "best size of a budget", "training FLOPs (6ND)", "parameters", lines, scales=("log", "log")
    )


def _error_panel(fit: Fit) -> Panel:
    p = fit.points
    errors = 100 * log_errors(fit.law, p)
    out = np.zeros(len(p), bool)
    out[[each.index for each in fit.left_out]] = True
    groups = {"in the fit": ~out, "left out": out}
    lines = [
        Line(name, p.tokens_per_param[mask], errors[mask], style=style, is_joined=False)
        for style, (name, mask) in enumerate(groups.items())
        if mask.any()
    ]
    return Panel(
        "loss above the law", "tokens per parameter", "per cent", lines, {"the law": 0.0},
        scales=("log", "linear"),
    )  # fmt: skip
