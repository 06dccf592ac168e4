"""The plan of a run: its best size by every published law, its cost, and the models of the zoo.

The second half shows it as tables, in a terminal and as a page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import configs
from models.parameters import params_by_part
from zoo.common.html import element, table
from zoo.explaining.tables import Table, count
from zoo.planning.hardware import Topology, parse
from zoo.reporting.markup import figure, page, section, sections
from zoo.reporting.plots import Line, Panel
from zoo.scaling_laws.law import FLOPS_PER_PARAM_AND_TOKEN
from zoo.scaling_laws.published import EPOCH, PUBLISHED, Published, compute_multiple

DAY_S = 24 * 3600


@dataclass(frozen=True)
class Split:
    """A budget split by one law."""

    law: str
    params: float
    interval: tuple[float, float] | None
    """The 10th and the 90th percentile of the parameters; None: not published."""
    tokens: float
    tokens_per_param: float
    loss: float
    """Loss of that model by Epoch's refit, in nats per token of Chinchilla's text."""
    source: str


@dataclass(frozen=True)
class Cost:
    """The time that a topology of the planner needs."""

    topology: str
    num_devices: int
    peak_flops_per_s: float
    """Published bfloat16 peak of all devices."""
    days_at_peak: float
    """A bound: no run is faster."""
    days: float
    """At the given MFU."""


@dataclass(frozen=True)
class Standing:
    """A published model beside the optimum of its own FLOPs, by Epoch's refit."""

    model: str
    params: int
    tokens: int
    flops: float
    tokens_per_param: float
    best_params: float
    loss: float
    best_loss: float
    """Loss of the best model of the same FLOPs."""
    compute_multiple: float
    """Share of the FLOPs with which the best model reaches the same loss."""


@dataclass(frozen=True)
class Plan:
    """A budget, split and priced."""

    flops: float
    mfu: float
    splits: list[Split]
    costs: list[Cost]
    standings: list[Standing]
    left_out: list[str]
    """Models whose tokens no paper gives."""

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values. Field names are stable; see docs/json.md."""
        return asdict(self)


def plan(flops: float, topologies: Sequence[str], mfu: float) -> Plan:
    """Return the plan of C `flops`. Raises ConfigError for an unknown topology."""
    costs = [_cost(flops, parse(name, 1), mfu) for name in topologies]
    splits = [_split(flops, law) for law in PUBLISHED]
    names = [name for family in configs.FAMILIES.values() for name in family.PUBLISHED]
    left_out = [name for name in names if not _gives_tokens(name)]
    standings = list(_standings(names, left_out))
    return Plan(flops, mfu, splits, costs, standings, left_out)


def _split(flops: float, law: Published) -> Split:
    params, tokens = law.optimum.params(flops), law.optimum.tokens(flops)
    interval = law.spread.interval(law.optimum, flops)
    loss = EPOCH.loss(params, tokens)
    return Split(law.name, params, interval, tokens, tokens / params, loss, law.source)


def _cost(flops: float, topology: Topology, mfu: float) -> Cost:
    peak = topology.num_devices * topology.chip.flops_per_s
    days = flops / peak / DAY_S
    return Cost(topology.name, topology.num_devices, peak, days, days / mfu)


def _gives_tokens(model: str) -> bool:
    paper = configs.FAMILIES[configs.family_of(model)].PAPER.of_model(model)
    note = paper.note("num_steps")
    return note is not None and note.origin == "paper"


def _standings(names: Sequence[str], left_out: Sequence[str]) -> Iterator[Standing]:
    for name in names:
        if name in left_out:
            continue
        experiment = configs.get(name)
        params, tokens = sum(params_by_part(experiment.model).values()), experiment.num_tokens
        flops = float(FLOPS_PER_PARAM_AND_TOKEN * params * tokens)
        best_params, best_tokens = EPOCH.optimum.params(flops), EPOCH.optimum.tokens(flops)
        yield Standing(
            model=name,
            params=params,
            tokens=tokens,
            flops=flops,
            tokens_per_param=tokens / params,
            best_params=best_params,
            loss=EPOCH.loss(params, tokens),
            best_loss=EPOCH.loss(best_params, best_tokens),
            compute_multiple=compute_multiple(EPOCH, params, tokens),
        )


def plan_tables(plan: Plan) -> list[Table]:
    """Return the tables of a plan."""
    return [_splits_table(plan), _costs_table(plan), _standings_table(plan)]


def _splits_table(plan: Plan) -> Table:
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


def _costs_table(plan: Plan) -> Table:
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


def _standings_table(plan: Plan) -> Table:
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
