"""All models of the zoo by name."""

import difflib
from types import ModuleType

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
from configs.contrasts import bert, t5, transformer
from configs.experiment import Experiment
from models.config import ConfigError, Decoder, check

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

CONTRASTS = {"transformer": transformer, "bert": bert, "t5": t5}
"""The modules of models that are no decoders, for comparison: they are trained, sampled from,
evaluated and described; all other commands are about the families."""

MODELS: dict[str, Experiment] = {
    name: experiment for family in FAMILIES.values() for name, experiment in family.FAMILY.items()
}
"""The models of the families by name."""

CONTRAST_MODELS: dict[str, Experiment] = {
    name: experiment for family in CONTRASTS.values() for name, experiment in family.FAMILY.items()
}
"""The models of the contrasts by name."""


def get(name: str) -> Experiment:
    """Return the experiment called `name`.

    Raises ConfigError for an unknown name, with the nearest ones.
    """
    models = MODELS | CONTRAST_MODELS
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.0)
    raise ConfigError(
        f"model {name!r} is not in the zoo; did you mean {' or '.join(near)}? "
        "`python -m zoo.describe` lists all models"
    )


def get_decoder(name: str) -> Experiment:
    """Return the experiment called `name`, which must be of one of the families.

    Raises ConfigError for an unknown name, and for a contrast.
    """
    check_decoder(get(name), name)
    return MODELS[name]


def check_decoder(experiment: Experiment, name: str) -> None:
    """Raise ConfigError unless the model, called `name` in the message, is a decoder."""
    check(
        isinstance(experiment.model.stack, Decoder),
        f"{name} has an encoder, which zoo.train, zoo.sample, zoo.evaluate, zoo.convert and "
        "zoo.describe know, and nothing else; a program loads it with zoo.contrasts.loading.load",
    )


def family_of(name: str) -> str:
    """Return the model's family, of FAMILIES or CONTRASTS; ConfigError for an unknown name."""
    get(name)
    return next(family for family, module in _EVERY.items() if name in module.FAMILY)


def module_of(family: str) -> ModuleType:
    """Return the module of a family or a contrast."""
    return _EVERY[family]


_EVERY: dict[str, ModuleType] = {**FAMILIES, **CONTRASTS}
