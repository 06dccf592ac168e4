"""Measurements of the zoo's speed on this machine, alone or in turn with another library."""

from typing import Literal, get_args

What = Literal["train", "prefill", "decode", "input", "startup"]
"""The part that is measured.

`train`: a train step. `prefill`: a prompt to the first token after it. `decode`: a prompt and all
new tokens. `input`: the rows of batches, filled by one core. `startup`: commands as processes.
"""
WHATS: tuple[What, ...] = get_args(What)
