"""The way in which a model is computed, as plain data. Standard library only."""

from dataclasses import dataclass, replace
from typing import Literal

from models.config import check

Kernel = Literal["xla", "splash", "cudnn"]
"""A way to compute attention. xla: in blocks of queries, which serves every model on every device;
splash: the Pallas kernel of JAX for TPUs; cudnn: cuDNN's for NVIDIA GPUs."""


Remat = Literal["none", "dots", "narrow", "full"]
"""A policy of rematerialisation; see `Execution.remat`."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The way a `ModelConfig` is computed: it changes speed and memory, not the model."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of activations and matrix products; norms, softmax and loss are computed in
    float32. auto: bfloat16 on accelerators, float32 on a CPU."""
    attention: Literal["auto", Kernel] = "auto"
    """Kernel that computes attention where a sequence attends to itself. auto: the fastest that can
    serve the model on these devices."""
    remat: Remat = "none"
    """Work that the backward pass repeats to save memory, besides the scores of attention, which it
    always computes again. none: nothing; dots: everything except the products of dense layers and
    the output of attention; narrow: everything except those of these that are as narrow as the
    residual stream, so the up projections of feed-forward layers too; full: whole layers."""
    unroll: int = 1
    """Layers per scan iteration. More of them take longer to compile and may run faster."""

    def __post_init__(self):
        check(self.unroll > 0, f"execution.unroll={self.unroll} must be above zero")

    def resolve(self, *, accelerated: bool) -> "Execution":
        """Return the same execution with the dtype that `auto` means on these devices."""
        if self.dtype != "auto":
            return self
        return replace(self, dtype="bfloat16" if accelerated else "float32")
