"""The stacks of layers that a model has, as plain data. Standard library only."""

from dataclasses import dataclass
from typing import Literal

Sees = Literal["past", "both_sides"]
"""The tokens that a token attends to, in its own stack."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """One stack of layers in which a token sees those before it: it predicts the next one."""


EncoderHead = Literal["masked_tokens", "next_sentence"]
"""A prediction of an encoder: tokens that are masked, or whether one sentence follows another."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """One stack of layers in which a token sees those on both sides (BERT, Devlin et al. 2018)."""

    num_segments: int = 2
    """Sentences of a sequence, each with a trained vector that is added to its tokens."""
    heads: tuple[EncoderHead, ...] = ("masked_tokens", "next_sentence")


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder:
    """Two stacks: a decoder whose tokens also see all of what an encoder reads.

    Vaswani et al. 2017, section 3.1. `num_layers` is the decoder's.
    """

    num_encoder_layers: int


Stack = Decoder | Encoder | EncoderDecoder
"""The stacks of layers, and whom their tokens see."""
