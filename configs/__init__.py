"""All models of the zoo by name."""

import difflib

from configs import (
    chinchilla,
    gopher,
    gpt1,
    gpt2,
    gpt3,
    jurassic1,
    llama,
    mt_nlg,
    palm,
)
from configs.experiment import Experiment
from models.config import ConfigError

FAMILIES = {
    "gpt1": gpt1,
    "gpt2": gpt2,
    "gpt3": gpt3,
    "jurassic1": jurassic1,
    "mt_nlg": mt_nlg,
    "gopher": gopher,
    "chinchilla": chinchilla,
    "palm": palm,
    "llama": llama,
}
"""The modules of the families, in the order in which their papers appeared."""

MODELS: dict[str, Experiment] = {
    name: experiment for family in FAMILIES.values() for name, experiment in family.FAMILY.items()
}


def get(name: str) -> Experiment:
    """Return the experiment called `name`.

    Raises ConfigError for an unknown name, with the nearest ones.
    """
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.0)
    raise ConfigError(
        f"model {name!r} is not in the zoo; did you mean {' or '.join(near)}? "
        "`python -m zoo.describe` lists all models"
    )


def family_of(name: str) -> str:
    """Return the model's family, a key of FAMILIES. Raises ConfigError for an unknown name."""
    get(name)
    return next(family for family, module in FAMILIES.items() if name in module.FAMILY)
