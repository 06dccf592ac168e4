"""The same runs under other counts of parameters and FLOPs: the exponent moves with them.

Kaplan et al. (arXiv 2001.08361) leave embeddings out of N and C and find N_opt ~ C^0.73, Chinchilla
counts all and finds about 0.5; small models, most of whose parameters are embeddings, make most of
the difference (arXiv 2406.12907).
"""

from dataclasses import dataclass

import numpy as np

import configs
from models.config import ConfigError, ModelConfig
from models.flops import train_flops_palm
from models.parameters import params_by_part
from zoo.scaling_laws.law import FLOPS_PER_PARAM_AND_TOKEN
from zoo.scaling_laws.parametric import fit_law
from zoo.scaling_laws.points import Points

EMBEDDINGS = ("token embedding", "position embedding", "output matrix")
"""Parts of a model that Kaplan et al. leave out: all tables of tokens and positions."""
SAME_SIZE = 0.005
"""Share by which a run's parameters may differ from a size of the zoo: a CSV file holds rounded
numbers."""


@dataclass(frozen=True)
class Counts:
    """The counts of one model."""

    params: int
    without_embeddings: int
    flops_per_token: float
    """6N + 12LHQT, attention over the whole context included (PaLM, appendix B)."""

    @classmethod
    def of(cls, model: ModelConfig, seq_len: int) -> "Counts":
        """Count a model that is trained on sequences of `seq_len` tokens."""
        parts = params_by_part(model)
        total = sum(parts.values())
        tables = sum(parts.get(part, 0) for part in EMBEDDINGS)
        return cls(total, total - tables, train_flops_palm(model, total, seq_len))


@dataclass(frozen=True)
class Convention:
    """A way of counting, and the exponent a of N_opt ~ C^a that it gives."""

    params: str
    flops: str
    exponent: float


def counts_of_family(points: Points, family: str) -> list[Counts]:
    """Return the counts of every run, whose sizes are the family's.

    Raises ConfigError for an unknown family, or a size that it does not have.
    """
    if family not in configs.FAMILIES:
        raise ConfigError(
            f"--family={family} is not in the zoo; write one of {', '.join(configs.FAMILIES)}"
        )
    sizes = [Counts.of(e.model, e.seq_len) for e in configs.FAMILIES[family].FAMILY.values()]
    found = []
    for row, params in zip(points.rows, points.params, strict=True):
        nearest = min(sizes, key=lambda size: abs(size.params - params))
        if abs(nearest.params - params) > SAME_SIZE * params:
            raise ConfigError(
                f"--family={family} has no model of {params:,.0f} parameters (run {row}); its "
                f"nearest has {nearest.params:,}. Leave --family out, or name the right one"
            )
        found.append(nearest)
    return found


def conventions(points: Points, counts: list[Counts]) -> list[Convention]:
    """Return the exponent for each count of parameters and FLOPs, by a law fitted anew.

    A law L(N, D) and a cost of k N^g FLOPs a token give N_opt ~ C^(beta / (alpha + g beta)), with
    g = 1 for 6N. The cost with attention is a power of N only nearly: g is its slope over the sizes
    of the runs.
    """
    per_token = np.array([each.flops_per_token for each in counts])
    sizes = {
        "all parameters": points.params,
        "without embeddings": np.array([float(each.without_embeddings) for each in counts]),
    }
    found = []
    for name, params in sizes.items():
        law = fit_law(Points(params, points.tokens, points.loss, points.rows))
        costs = {"6ND of the same N": FLOPS_PER_PARAM_AND_TOKEN * params}
        costs["6ND of all N, with attention"] = per_token
        for cost_name, cost in costs.items():
            slope = float(np.polyfit(np.log(params), np.log(cost), 1)[0])
            exponent = law.beta / (law.alpha + slope * law.beta)
            found.append(Convention(name, cost_name, exponent))
    return found
