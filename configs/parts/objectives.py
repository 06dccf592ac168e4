"""The prediction that a model learns, as plain data. Standard library only."""

from dataclasses import dataclass
from typing import ClassVar

from models.config import ModelConfig, check
from models.encoders.stacks import Decoder, Encoder, EncoderDecoder


@dataclass(frozen=True, kw_only=True)
class NextToken:
    """Every token, from those before it: -log p(x_t | x_<t)."""


@dataclass(frozen=True, kw_only=True)
class MaskedTokens:
    """Tokens that are hidden, from all others (Devlin et al. 2018, section 3.1 and appendix A.1).

    A sequence of T tokens is [CLS] A [SEP] B [SEP], where B follows A in the text or, in half of
    the sequences if the model predicts it, comes from another row of the batch.
    """

    SHORTEST: ClassVar[int] = 5
    """Tokens of the shortest sequence: three marks, and a token of each part."""
    rate: float = 0.15
    """Share of the tokens that are predicted. Of these, 80 % are replaced by the mask, 10 % by a
    random token, and 10 % stay."""
    cls_id: int
    """The id that begins a sequence."""
    sep_id: int
    """The id that ends a sentence."""
    mask_id: int
    """The id that stands for a hidden token."""

    def __post_init__(self):
        check(0 < self.rate < 1, f"objective.rate={self.rate} must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class SpanCorruption:
    """Spans that are cut out of a text, from what is left (Raffel et al. 2020, section 3.1.4).

    The encoder reads the text with a sentinel in place of each span; the decoder writes each
    sentinel and then its span.
    """

    rate: float = 0.15
    """Share of the tokens that are cut out."""
    mean_span: float = 3.0
    """Mean number of tokens of a span."""
    first_sentinel: int
    """The id of the first sentinel; the next ones are one lower each."""

    def __post_init__(self):
        check(
            0 < self.rate < 1 and self.mean_span >= 1,
            f"objective.rate={self.rate} must lie between 0 and 1, and "
            f"objective.mean_span={self.mean_span} must be 1 or more",
        )

    def num_cut(self, seq_len: int) -> int:
        """Return the number of tokens that are cut out of a text."""
        return min(max(1, round(self.rate * seq_len)), seq_len - 1)

    def num_spans(self, seq_len: int) -> int:
        """Return the number of spans that are cut out of a text."""
        num_cut = self.num_cut(seq_len)
        return min(max(1, round(num_cut / self.mean_span)), seq_len - num_cut)

    def lengths(self, seq_len: int) -> tuple[int, int]:
        """Return the tokens of the source and of the target that a text becomes."""
        num_cut, num_spans = self.num_cut(seq_len), self.num_spans(seq_len)
        return seq_len - num_cut + num_spans, num_cut + num_spans + 1


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The second part of a text, token by token, from the first part, which the encoder reads."""

    source_share: float = 0.5
    """Share of the tokens that the encoder reads."""

    def __post_init__(self):
        check(
            0 < self.source_share < 1,
            f"objective.source_share={self.source_share} must lie between 0 and 1",
        )

    def lengths(self, seq_len: int) -> tuple[int, int]:
        """Return the tokens of the source and of the target that a text becomes."""
        source = min(max(1, round(self.source_share * seq_len)), seq_len - 1)
        return source, seq_len - source


Objective = NextToken | MaskedTokens | SpanCorruption | Continuation
"""The prediction that a model is trained for."""


def loss_unit(objective: Objective) -> str:
    """Return the unit of the objective's loss in words."""
    match objective:
        case NextToken():
            return "nats per token"
        case MaskedTokens():
            return "nats per hidden token"
        case SpanCorruption():
            return "nats per token of the spans"
        case Continuation():
            return "nats per token of the second part"


def check_objective(objective: Objective, model: ModelConfig) -> None:
    """Raise ConfigError unless the model can learn the objective."""
    match objective:
        case NextToken():
            stack, ids = Decoder, ()
        case MaskedTokens(cls_id=cls_id, sep_id=sep_id, mask_id=mask_id):
            stack, ids = Encoder, (cls_id, sep_id, mask_id)
        case SpanCorruption(first_sentinel=first_sentinel):
            stack, ids = EncoderDecoder, (first_sentinel,)
        case Continuation():
            stack, ids = EncoderDecoder, ()
    check(
        isinstance(model.stack, stack),
        f"objective={objective} is for a model with model.stack={stack.__name__}, and this one has "
        f"{model.stack}; a decoder learns NextToken, an encoder MaskedTokens, and both together "
        "SpanCorruption or Continuation",
    )
    for token in ids:
        check(
            0 <= token < model.vocab_size,
            f"objective={objective} names the id {token}, and model.vocab_size={model.vocab_size}; "
            "write ids of the table with --objective.*, and a --data.vocabulary-size below them",
        )
