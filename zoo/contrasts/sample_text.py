"""A sample of any model, to see during training what it has learned."""

from typing import assert_never

from flax import nnx

from configs.experiment import Experiment
from data.vocabularies.vocabulary import Vocabulary
from models.config import Decoder, Encoder, EncoderDecoder
from zoo.contrasts.masked_text import MASK, MaskedTextModel
from zoo.contrasts.text_to_text import TextToTextModel
from zoo.inference.decode import Sampling
from zoo.inference.language_model import LanguageModel

_SAMPLING = Sampling(temperature=0.8, top_k=40, top_p=0.95)
_PROMPT = 8
"""Tokens of an opening that a decoder continues."""
_EVERY = 8
"""An encoder fills every so many tokens of an opening."""


def sample_text(
    experiment: Experiment,
    graphdef: nnx.GraphDef,
    params: nnx.State,
    vocabulary: Vocabulary,
    opening: list[int],
) -> str:
    """Return the opening of a text and the model's continuation.

    An encoder fills gaps of the opening instead: both are shown.
    """
    parts = (experiment, graphdef, params, vocabulary)
    context = experiment.model.context_length
    match experiment.model.stack:
        case Decoder():
            model, text = LanguageModel(*parts), vocabulary.decode(opening[:_PROMPT])
            return text + model.sample([text], max_tokens=150, sampling=_SAMPLING)[0]
        case Encoder():
            hidden = [
                MASK if number % _EVERY == _EVERY // 2 else vocabulary.decode([token])
                for number, token in enumerate(opening[: context // 2])
            ]
            text = "".join(hidden)
            return f"{text}\n{MaskedTextModel(*parts).fill([text])[0].text}"
        case EncoderDecoder():
            text = vocabulary.decode(opening[: context // 2])
            written = TextToTextModel(*parts).sample([text], max_tokens=150, sampling=_SAMPLING)
            return text + written[0]
        case _:
            assert_never(experiment.model.stack)
