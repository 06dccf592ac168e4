"""One training run as plain data: a model, its optimizer, its data and its devices.

Only the standard library is imported, so that `--help` answers at once. The string below a field
is its help text.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from configs.parts.batch_ramps import LinearRamp, SteppedRamp
from configs.parts.objectives import (
    Continuation,
    MaskedTokens,
    NextToken,
    Objective,
    SpanCorruption,
    check_objective,
)
from configs.parts.optimizers import Optimizer
from data.batches.sizes import BatchSizes
from data.config import MAY_CHANGE, Data
from models.config import ModelConfig, check, check_above_zero
from models.execution import Execution
from models.flops import train_flops_of_stacks, train_flops_palm
from models.parameters import params_by_part


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Number of devices along each mesh axis; their product is the number of devices used.

    If an axis is not given (None), `data` takes all remaining devices and any other axis is 1. With
    --mesh=auto these axes are chosen so that the run fits, and the log gives the reason.
    """

    auto: bool = False
    """Choose the axes that are not given (short: --mesh=auto)."""
    data: int | None = None
    """Copies of the model, each with its share of the batch."""
    fsdp: int | None = None
    """Ways to split parameters, optimizer state and batch (ZeRO)."""
    tensor: int | None = None
    """Ways to split heads, feed-forward width and vocabulary (Megatron)."""
    sequence: int | None = None
    """Ways to split the length of every sequence; keys and values go round the devices, none of
    which holds those of a whole sequence. Each device draws its own dropout."""
    pipeline: int | None = None
    """Stages among which the layers are divided (GPipe)."""
    pipeline_micro_batches: int | None = None
    """Micro-batches that follow each other through the stages of a pipeline, each with its own
    dropout. None: one per stage, or fewer if a device has too few sequences."""

    def __post_init__(self):
        check_above_zero(self, "mesh.", "data", "fsdp", "tensor", "sequence", "pipeline")
        check_above_zero(self, "mesh.", "pipeline_micro_batches")


Weights = Literal["run", "int8"]
"""The form in which a trained model's weights are held to use it.

`run`: as the run computes with them, in float32 or bfloat16. `int8`: every matrix of a product and
the embeddings with one byte per entry and a scale per output; vectors and learned positions as in
`run`.
"""


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """Settings by which the processes of a run on several hosts find each other.

    No flag is needed on Cloud TPU, GKE with TPUs, Slurm and Open MPI.
    """

    coordinator: str | None = None
    """HOST:PORT of process 0; the port must be free on that host. None: ask the cluster, if any."""
    num_processes: int | None = None
    """Processes of the run; 1: this one alone, whatever the cluster says. None: ask the cluster."""
    process_id: int | None = None
    """Number of this process, from 0. None: ask the cluster."""
    timeout_s: int = 300
    """Seconds that the first process waits for the last; then an error names the missing ones."""
    heartbeat_s: int = 30
    """Seconds without a sign of life after which a process counts as lost and all others end."""

    def __post_init__(self):
        check_above_zero(self, "distributed.", "num_processes", "timeout_s", "heartbeat_s")
        check(
            self.coordinator is None or self.coordinator.rpartition(":")[2].isdecimal(),
            f"distributed.coordinator={self.coordinator} must be HOST:PORT; write for example "
            "--distributed.coordinator=10.0.0.1:8476",
        )


ParamDtype = Literal["float32", "bfloat16"]
"""Precision in which parameters are stored."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The reaction to a step that diverges.

    A step diverges if a number is not finite, or if its loss or update norm spikes: it lies more
    than `deviations` above the median of the last `window` steps, in units of 1.4826 times their
    median absolute deviation, or of 1 % of the median if that is more.
    """

    action: Literal["abort", "skip", "rewind"] = "abort"
    """abort: end the run at a number that is not finite; warn of a spike. skip: do not apply the
    update. rewind: go back to an earlier checkpoint, and from there leave batches out."""
    window: int = 128
    """Steps that a step is compared with; once half of them are taken, spikes are told."""
    deviations: float = 6.0
    """Distance above the median from which on a step is a spike."""
    rewind_steps: int = 100
    """Steps before the spike at which the checkpoint of a rewind is taken, at the least; the oldest
    one, if none is so old."""
    skip_batches: int = 200
    """Batches that a rewind leaves out; more, if the spike's own batch comes later. They count for
    the growth of the batch, but not for the learning rate."""
    attempts: int = 5
    """Updates that are skipped within a window, or rewinds to the same checkpoint; at one more, the
    run ends."""

    def __post_init__(self):
        names = ("window", "deviations", "rewind_steps", "skip_batches", "attempts")
        check_above_zero(self, "divergence.", *names)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training run; resolved, it is `config.json` in the workdir and in every checkpoint.

    Fields marked MAY_CHANGE may have another value when the run is resumed.
    """

    model: ModelConfig
    objective: Objective = NextToken()
    optimizer: Optimizer
    data: Data = Data()
    mesh: Mesh = field(default=Mesh(), metadata=MAY_CHANGE)
    execution: Execution = field(default=Execution(), metadata=MAY_CHANGE)
    num_steps: int = field(metadata=MAY_CHANGE)
    """Optimizer steps."""
    batch_tokens: int
    """Tokens per optimizer step, over all devices; if the batch grows, of the largest."""
    seq_len: int
    """Tokens per sequence."""
    batch_ramp: SteppedRamp | LinearRamp | None = None
    """Growth of the batch at the start of the run. None: all batches have the same size."""
    init_from: str | None = None
    """Checkpoint whose parameters and vocabulary a new run starts with, at step 0: a workdir or one
    of its checkpoints/STEP folders. None: random parameters."""
    param_dtype: ParamDtype = "float32"
    """Precision of the stored parameters; the optimizer's state and arithmetic are float32.
    float32: layers compute with a copy in execution.dtype. bfloat16: there is no other copy, and
    each update is rounded to bfloat16 stochastically (Gopher, section 3.2)."""
    z_loss: float = 0.0
    """Weight of log^2 Z in the loss, Z the softmax normaliser (PaLM, section 5: 1e-4)."""
    micro_batches: int | Literal["auto"] = field(default=1, metadata=MAY_CHANGE)
    """Slices of a batch whose gradients are computed in turn and added up, to save memory. Without
    dropout the result is the same. auto: as few as fit into the devices."""
    divergence: Divergence = field(default=Divergence(), metadata=MAY_CHANGE)
    seed: int = 0
    """Seed of the initial parameters and of dropout; data.seed sets the order of the data."""
    log_every: int = field(default=1, metadata=MAY_CHANGE)
    """Steps between lines of metrics.jsonl."""
    eval_every: int = field(default=100, metadata=MAY_CHANGE)
    """Steps between evaluations of the whole validation split (and a sample)."""
    save_every: int = field(default=100, metadata=MAY_CHANGE)
    """Steps between checkpoints."""
    patience: int | None = field(default=None, metadata=MAY_CHANGE)
    """Evaluations in a row without a lower validation loss after which the run ends. None: it takes
    all its steps."""
    keep: int = field(default=2, metadata=MAY_CHANGE)
    """Newest checkpoints to keep, besides the one with the best validation loss."""

    def __post_init__(self):
        check_above_zero(self, "", "num_steps", "batch_tokens", "seq_len")
        check_above_zero(self, "", "log_every", "eval_every", "save_every", "patience", "keep")
        check(
            self.num_micro_batches > 0,
            f"micro_batches={self.micro_batches} must be above zero; write --micro-batches=auto",
        )
        whole_batch = max(1, self.batch_tokens // self.seq_len) * self.seq_len
        check(
            self.batch_tokens % self.seq_len == 0,
            f"batch_tokens={self.batch_tokens} must be a multiple of seq_len={self.seq_len}; "
            f"write --batch-tokens={whole_batch}",
        )
        check(
            self.batch_size % self.num_micro_batches == 0,
            f"micro_batches={self.micro_batches} must divide the batch of {self.batch_size} "
            f"sequences (batch_tokens={self.batch_tokens} / seq_len={self.seq_len})",
        )
        check_objective(self.objective, self.model)
        check(
            isinstance(self.objective, NextToken) or self.data.packing == "unmasked",
            f"data.packing={self.data.packing} is for models that predict the next token; write "
            "--data.packing=unmasked, whose rows are full of text",
        )
        _ = self.batch_sizes  # raises ConfigError for a ramp that does not fit the batch
        longest = self.model.max_length
        check(
            longest is None or self.seq_len <= longest,
            f"seq_len={self.seq_len} exceeds model.context_length={longest}, and learned positions "
            f"end there; write --seq-len={longest} or raise --model.context-length",
        )
        check(self.z_loss >= 0, f"z_loss={self.z_loss} must not be negative; write --z-loss=0")

    @property
    def batch_size(self) -> int:
        """Sequences per optimizer step, in the largest batch."""
        return self.batch_tokens // self.seq_len

    @property
    def num_micro_batches(self) -> int:
        """Slices of the largest batch; 1 until `auto` is decided."""
        return 1 if self.micro_batches == "auto" else self.micro_batches

    @cached_property
    def batch_sizes(self) -> BatchSizes:
        """Sequences of every batch."""
        if self.batch_ramp is None:
            return BatchSizes.constant(self.batch_size)
        return self.batch_ramp.sizes(self.batch_size, self.seq_len)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.batch_sizes.before(self.num_steps) * self.seq_len

    @property
    def train_flops_per_token(self) -> float:
        """Training FLOPs per token of text, in PaLM's convention for each stack of layers."""
        match self.objective:
            case NextToken() | MaskedTokens():
                size = sum(params_by_part(self.model).values())
                return train_flops_palm(self.model, size, self.seq_len)
            case SpanCorruption() | Continuation():
                lengths = self.objective.lengths(self.seq_len)
                return train_flops_of_stacks(self.model, *lengths) / self.seq_len

    def lasting(self, num_tokens: float) -> "Experiment":
        """Return the run with as many steps as come nearest to `num_tokens` tokens."""
        num_steps = max(1, self.batch_sizes.steps(num_tokens / self.seq_len))
        return replace(self, num_steps=num_steps)
