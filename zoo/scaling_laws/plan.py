"""The plan of a run: its best size by every published law, its cost, and the models of the zoo."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import configs
from models.parameters import params_by_part
from zoo.planning.hardware import Topology, parse
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
