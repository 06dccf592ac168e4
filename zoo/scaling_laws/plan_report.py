"""A plan as tables, in a terminal and as a page."""

import numpy as np

from zoo.reporting.markup import element, figure, page, section, sections, table
from zoo.reporting.plots import Line, Panel
from zoo.scaling_laws.fit_report import Table, count
from zoo.scaling_laws.plan import Plan
from zoo.scaling_laws.published import PUBLISHED


def plan_tables(plan: Plan) -> list[Table]:
    """Return the tables of a plan."""
    return [_splits(plan), _costs(plan), _standings(plan)]


def _splits(plan: Plan) -> Table:
    rows = [
        [
            e.law,
            count(e.params),
            "-" if e.interval is None else f"{count(e.interval[0])} to {count(e.interval[1])}",
            count(e.tokens),
            f"{e.tokens_per_param:.3g}",
            f"{e.loss:.3f}",
        ]
        for e in plan.splits
    ]
    head = ("law", "N", "10 % to 90 %", "D", "D/N", "loss")
    notes = [f"{e.law}: {e.source}." for e in plan.splits]
    notes.append("D = C / 6N. The loss is that of Epoch's refit, on Chinchilla's text and tokens.")
    return Table(f"The best model for {plan.flops:.3g} FLOPs", head, rows, notes)


def _costs(plan: Plan) -> Table:
    rows = [
        [
            e.topology,
            f"{e.num_devices:,}",
            f"{e.peak_flops_per_s / 1e15:,.0f} PFLOP/s",
            f"{e.days_at_peak:,.1f}",
            f"{e.days:,.1f}",
            f"{e.num_devices * e.days * 24:,.0f}",
        ]
        for e in plan.costs
    ]
    head = ("hardware", "devices", "bfloat16 peak", "days at peak", "days", "device hours")
    note = (
        f"Days and device hours at an MFU of {plan.mfu:.0%}: published runs reached 21 % (GPT-3), "
        "30 % (MT-NLG), 33 % (Gopher) and 46 % (PaLM; its Table 3). `python -m zoo.plan` tells "
        "whether a model fits and bounds its speed."
    )
    return Table("Cost", head, rows, [note])


def _standings(plan: Plan) -> Table:
    rows = [
        [
            e.model,
            count(e.params),
            count(e.tokens),
            f"{e.flops:.2e}".replace("e+", "e"),
            f"{e.tokens_per_param:.3g}",
            count(e.best_params),
            f"{e.params / e.best_params:.2f}",
            f"{e.loss:.3f}",
            f"{e.best_loss:.3f}",
            f"{e.compute_multiple:.0%}",
        ]
        for e in plan.standings
    ]
    head = (
        "model", "N", "D", "6ND", "D/N", "best N", "N / best", "loss", "best loss", "FLOPs needed",
    )  # fmt: skip
    meaning = (
        "By Epoch's refit, as if all were trained on Chinchilla's text: the losses are not those "
        "that the models have on their own. FLOPs needed: the share of the model's own with which "
        "the best model reaches the same loss. A model that serves many users is trained for "
        "longer than is best for its training alone (LLaMA, section 1)."
    )
    missing = f"Left out, because no paper gives their tokens: {_names(plan.left_out)}."
    return Table("The models of the zoo", head, rows, [meaning, missing])


def _names(models: list[str]) -> str:
    study = [name for name in models if name.startswith("chinchilla")]
    others = [name for name in models if name not in study]
    return ", ".join(others) + (f" and {len(study)} models of Chinchilla's study" if study else "")


def plan_page(plan: Plan) -> str:
    """Return the page as HTML."""
    title = f"A plan for {plan.flops:.3g} FLOPs"
    parts = [
        section(
            each.title,
            table(each.head, each.rows, class_="numbers"),
            *(element("p", note, class_="muted") for note in each.notes),
        )
        for each in plan_tables(plan)
    ]
    charts = element("div", figure(_panel(plan)), class_="charts")
    return page(title, element("h1", title), sections(section("Picture", charts), *parts))


def _panel(plan: Plan) -> Panel:
    budgets = [each.flops for each in plan.standings] + [plan.flops]
    x = np.geomspace(min(budgets), max(budgets), 40)
    lines = [
        Line(law.name, x, np.array([law.optimum.params(c) for c in x]), style=style)
        for style, law in enumerate(PUBLISHED)
    ]
    flops, params = np.array([[each.flops, each.params] for each in plan.standings]).T
    lines.append(Line("models of the zoo", flops, params, style=len(lines), is_joined=False))
    return Panel(
        "best size of a budget", "training FLOPs (6ND)", "parameters", lines, scales=("log", "log")
    )
