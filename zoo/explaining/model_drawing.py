"""A model drawn in ASCII, from the tokens to the logits."""

from typing import assert_never

from models.config import Decoder, Encoder, EncoderDecoder, Learned, ModelConfig, Sinusoidal
from zoo.explaining.choices import choices


def draw(model: ModelConfig) -> str:
    """Return a drawing of the model with one of its layers.

    It shows no sizes, so that all sizes of a family have the same drawing.
    """
    by_axis = {choice.explanation.axis: choice for choice in choices(model)}
    position, norm = by_axis["model.position"], by_axis["model.norm"].kind
    is_added = isinstance(model.position, Learned | Sinusoidal)
    heads = by_axis["model.attention"].kind
    notes = [] if is_added else [position.kind]
    if any(window is not None for window in model.attention.windows):
        notes.append(by_axis["model.attention.windows"].kind)
    attention = f"{heads} ({', '.join(notes)})" if notes else heads
    feed_forward = f"{by_axis['model.feed_forward'].kind} feed-forward"
    steps = [attention, feed_forward]
    start, end = ["tokens"], []
    match model.stack:
        case Decoder():
            pass
        case Encoder():
            start, end = ["tokens, some of them hidden"], ["masked-token head"]
        case EncoderDecoder():
            steps.insert(1, "attention to the encoder's output")
            start = ["the encoder: the same without the second branch, to both sides", "", "tokens"]
        case _:
            assert_never(model.stack)
    match model.layout:
        case "post_norm":
            layer = [line for step in steps for line in (*_branch(step), norm)]
        case "pre_norm":
            layer = [line for step in steps for line in _branch(norm, step)]
        case "parallel":
            between = len(attention) + 2
            layer = [
                "|---.",
                f"|   {norm}",
                "|   |" + "-" * between + ".",
                f"|   {attention}   {feed_forward}",
                "+ <-'" + " " * between + "|",
                "+ <--" + "-" * between + "'",
            ]
        case _:
            assert_never(model.layout)
    return "\n".join(
        [
            *start,
            "embedding" + (f" + {position.kind}" if is_added else ""),
            "|",
            *layer,
            "|   ... and so on, num_layers times",
            *([] if model.layout == "post_norm" else [norm]),
            *end,
            by_axis["model.tie_embeddings"].explanation.equation,
            by_axis["model.logit_scale"].explanation.equation,
        ]
    )


def _branch(*steps: str) -> list[str]:
    """Return the lines of a branch that leaves the residual stream and is added to it."""
    return ["|---.", *(f"|   {step}" for step in steps), "+ <-'"]
