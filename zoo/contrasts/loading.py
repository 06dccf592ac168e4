"""A checkpoint of an encoder, or of an encoder and a decoder, in memory: `load(path)`."""

from pathlib import Path
from typing import assert_never

from flax import nnx

from models.config import ConfigError, Decoder, Encoder, EncoderDecoder
from models.model import abstract_model
from zoo.checkpoints import checkpoint, recovery
from zoo.common.errors import CheckpointError
from zoo.contrasts.masked_text import MaskedTextModel
from zoo.contrasts.text_to_text import TextToTextModel
from zoo.distribution.devices import for_inference, quiet_libtpu


def load(
    path: str | Path, *, step: checkpoint.Step | None = None
) -> MaskedTextModel | TextToTextModel:
    """Load the model in `path`, the workdir of a run or one step's folder, onto the first device.

    Raises CheckpointError if there is none or it is damaged, ConfigError if it is a decoder.
    """
    quiet_libtpu()
    folder = checkpoint.find(path, step=step)
    recovery.verify(folder)
    experiment = for_inference(checkpoint.read_run(folder).experiment)
    parts = (
        experiment,
        nnx.graphdef(abstract_model(experiment.model, experiment.execution)),
        checkpoint.read_params(folder, experiment),
        checkpoint.read_vocabulary(folder),
    )
    match experiment.model.stack:
        case Encoder():
            return MaskedTextModel(*parts)
        case EncoderDecoder():
            return TextToTextModel(*parts)
        case Decoder():
            raise ConfigError(f"{path} holds a decoder; zoo.load reads it")
        case _:
            assert_never(experiment.model.stack)


def is_contrast(path: str | Path, step: checkpoint.Step | None = None) -> bool:
    """Return whether a checkpoint is of a model with an encoder.

    False if its record is damaged, which whoever loads it finds and names. Raises CheckpointError
    if there is no checkpoint.
    """
    folder = checkpoint.find(path, step=step)
    try:
        run = checkpoint.read_run(folder)
    except CheckpointError:
        return False
    return not isinstance(run.experiment.model.stack, Decoder)
