"""The prediction that a model learns: what it is shown of a batch of text, and its loss.

Every objective reads the same batches. What is hidden of a row, and where it is cut, is drawn on
the devices, from a key of the step and from the row itself.
"""

from typing import assert_never

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from configs.experiment import Experiment
from configs.parts.objectives import (
    Continuation,
    MaskedTokens,
    NextToken,
    Objective,
    SpanCorruption,
)
from data.vocabularies.vocabulary import Vocabulary
from models.config import check
from models.encoders.encoder import EncoderModel
from models.encoders.encoder_decoder import EncoderDecoderModel
from models.encoders.stacks import Encoder
from models.linear import Head
from models.model import Model
from models.positions import Positions
from models.transformer import Transformer
from zoo.training.masking import masked
from zoo.training.spans import halves, without_spans

Batch = dict[str, jax.Array]
"""`inputs`, `targets`, `positions`, `segment_ids` (int32) and `weights` (float32), each [B, T];
an objective may add arrays, and change T."""


def check_ids(objective: Objective, vocabulary: Vocabulary, seq_len: int) -> None:
    """Raise ConfigError if a mark is an ordinary token's id, or the sequences are too short."""
    shortest = objective.SHORTEST if isinstance(objective, MaskedTokens) else 2
    check(
        seq_len >= shortest or isinstance(objective, NextToken),
        f"seq_len={seq_len} is too short for {objective}; write --seq-len={shortest} or more",
    )
    match objective:
        case NextToken() | Continuation():
            marks: tuple[int, ...] = ()
        case MaskedTokens(cls_id=cls_id, sep_id=sep_id, mask_id=mask_id):
            marks = (cls_id, sep_id, mask_id)
        case SpanCorruption(first_sentinel=first):
            marks = tuple(range(first - objective.num_spans(seq_len), first + 1))
        case _:
            assert_never(objective)
    taken = [mark for mark in marks if mark < vocabulary.size and vocabulary.decode([mark])]
    check(
        not taken,
        f"{objective} uses ids for its marks of which {taken[:3]} are ordinary tokens; the "
        f"vocabulary has {vocabulary.size:,}: write --data.vocabulary-size={min(marks, default=0)} "
        "or less",
    )


def shown(experiment: Experiment, batch: Batch, key: Key[Array, ""] | None) -> Batch:
    """Return what a model is shown of a batch, and what it must predict.

    Args:
      key: that of a training step. None: for an evaluation, in which a row is always shown in the
        same way, and no sentence is swapped.
    """
    text, is_text = batch["inputs"], batch["segment_ids"] != 0
    draws = jax.random.key(0) if key is None else key
    match experiment.objective:
        case NextToken():
            return batch
        case MaskedTokens() as objective:
            stack = experiment.model.stack
            assert isinstance(stack, Encoder)
            swaps = key is not None and "next_sentence" in stack.heads
            vocab_size = experiment.model.vocab_size
            return masked(objective, text, is_text, draws, vocab_size, swaps=swaps)
        case SpanCorruption() as objective:
            return without_spans(objective, text, is_text, draws)
        case Continuation() as objective:
            return halves(objective, text, is_text)
        case _:
            assert_never(experiment.objective)


def states(
    model: Model, batch: Batch, dropout_key: Key[Array, ""] | None, micro_batches: int
) -> tuple[Head, Array, dict[str, Array]]:
    """Return the output layer, the states from which it predicts `targets`, and other losses.

    Args:
      batch: as `shown` returns it.
      micro_batches: number of micro-batches that follow each other through a pipeline.
    """
    positions = Positions(batch["positions"], batch["segment_ids"])
    match model:
        case Transformer():
            hidden, _ = model(
                batch["inputs"], positions, dropout_key=dropout_key, micro_batches=micro_batches
            )
            return model.head(dropout_key), hidden, {}
        case EncoderModel():
            hidden = model(batch["inputs"], positions, batch["segments"], dropout_key=dropout_key)
            predicted = jnp.take_along_axis(hidden, batch["at"][..., None], axis=1)
            others = {}
            if "is_other" in batch:
                nats = optax.softmax_cross_entropy_with_integer_labels(
                    model.follows(hidden), batch["is_other"]
                )
                others["next_sentence_loss"] = jnp.sum(batch["pair_weights"] * nats)
            return model.head(), model.masked_tokens(predicted), others
        case EncoderDecoderModel():
            source_positions = Positions(batch["source_positions"], batch["source_segment_ids"])
            keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
            encoded = model.encode(batch["source"], source_positions, dropout_key=keys[0])
            hidden = model.decode(
                batch["inputs"], positions, encoded, source_positions, dropout_key=keys[1]
            )
            return model.head(), hidden, {}
        case _:
            assert_never(model)
