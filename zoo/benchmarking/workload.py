"""The work of one repeat of a measurement, and what it costs by count."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from configs.experiment import Experiment, Weights
from models.config import ModelConfig
from models.flops import decoding_intensity, forward_flops_per_token, train_flops_palm
from models.model import num_params
from zoo.benchmarking import What
from zoo.common import serialize

CONVENTION = "6N + 12LHQT per token (PaLM, appendix B)"
"""The model FLOPs of training by which TFLOP/s and MFU are given; prefill is a third of them."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The shape of what one repeat computes."""

    what: What
    experiment: Experiment
    """The run; a train step has its batch."""
    sequences: int | None
    """Sequences of a train step over all devices; None: SEQUENCES for each device."""
    decode_batch: int
    """Prompts that are continued together."""
    prompt_tokens: int
    """Tokens of each prompt."""
    new_tokens: int
    """Tokens that follow each prompt."""
    weights: Weights = "run"
    """The form in which a model that samples holds its weights."""
    fake_devices: int = 0
    """Devices that the CPU stands for; 0: the real devices."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, for a process of its own."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"experiment": serialize.to_json(self.experiment)}

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> "Workload":
        """Invert `to_json`."""
        return Workload(**{**fields, "experiment": serialize.from_json(fields["experiment"])})

    @property
    def model(self) -> ModelConfig:
        """The model."""
        return self.experiment.model

    @property
    def tokens(self) -> int:
        """Tokens of one repeat: trained on, read or drawn."""
        match self.what:
            case "train":
                return self.experiment.batch_tokens
            case "prefill":
                return self.decode_batch * self.prompt_tokens
            case _:
                return self.decode_batch * self.new_tokens

    @property
    def flops(self) -> float:
        """Model FLOPs of one repeat by CONVENTION; a prefill is the forward pass, a third of it."""
        size = num_params(self.model)
        if self.what == "train":
            return train_flops_palm(self.model, size, self.experiment.seq_len) * self.tokens
        return train_flops_palm(self.model, size, self.prompt_tokens) * self.tokens / 3

    @property
    def bytes_per_drawn_token(self) -> float:
        """Bytes that must be read to draw one token for every row.

        All matrices once, in the form of `weights`, and the keys and values of each row, half of
        the new tokens among them, in the precision of the products.
        """
        num_keys = self.prompt_tokens + self.new_tokens // 2
        value_bytes = 4 if self.experiment.execution.dtype == "float32" else 2
        weight_bytes = 1 if self.weights == "int8" else value_bytes
        flops = self.decode_batch * forward_flops_per_token(self.model, num_keys)
        return flops / decoding_intensity(
            self.model, self.decode_batch, num_keys, value_bytes, weight_bytes
        )

    def repeat(self, continued: Callable[[int], float]) -> dict[str, float]:
        """Continue the prompts once; return the seconds of the whole call and of its first token.

        Args:
          continued: draws this many tokens after the prompts, and returns the seconds it took.
        """
        first_s = continued(1)
        if self.what == "prefill":
            return {"first": first_s}
        return {"call": continued(self.new_tokens), "first": first_s}

    def describe(self) -> str:
        """Return the shape in words: `4 x 256 tokens, float32`."""
        experiment = self.experiment
        dtype = experiment.execution.dtype
        if self.weights != "run" and self.what in ("prefill", "decode"):
            dtype += f", {self.weights} weights"
        match self.what:
            case "train":
                return f"{experiment.batch_size} x {experiment.seq_len} tokens, {dtype}"
            case "prefill":
                return f"{self.decode_batch} x {self.prompt_tokens} tokens, {dtype}"
            case "decode":
                return (
                    f"{self.decode_batch} x {self.new_tokens} tokens after {self.prompt_tokens}, "
                    f"{dtype}"
                )
            case "startup":
                return dtype
            case "input":
                return f"rows of {experiment.seq_len} tokens"
