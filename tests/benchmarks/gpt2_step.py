"""Seconds per train step of GPT-2 124M's shape, here and in PyTorch, in turn on the same machine.

    pip install torch
    python tests/benchmarks/gpt2_step.py --rounds=3 --dtype=float32

Both sides do the same work: forward, cross-entropy, backward, global-norm clipping and AdamW on
4 x 256 random tokens, vocabulary 50,304, parameters in float32. They run in turn, each in a process
of its own, because what else the machine does changes from minute to minute: read the ratio.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time

ROWS, TOKENS, VOCAB, LAYERS, HEADS, WIDTH = 4, 256, 50_304, 12, 12, 768


def seconds_jax(dtype: str, steps: int, unroll: int = LAYERS) -> list[float]:
    import jax
    import numpy as np

    import configs
    from zoo.training.step import make_steps

    experiment = configs.get("gpt2_124m")
    experiment = dataclasses.replace(
        experiment,
        model=dataclasses.replace(experiment.model, vocab_size=VOCAB),
        execution=dataclasses.replace(experiment.execution, dtype=dtype, unroll=unroll),
        batch_tokens=ROWS * TOKENS,
        seq_len=TOKENS,
    )
    functions = make_steps(experiment)
    state = jax.jit(functions.init)()
    tokens = np.random.default_rng(0).integers(0, VOCAB, (ROWS, TOKENS + 1), dtype=np.int32)
    batch = {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": np.tile(np.arange(TOKENS, dtype=np.int32), (ROWS, 1)),
        "segment_ids": np.ones((ROWS, TOKENS), np.int32),
        "weights": np.ones((ROWS, TOKENS), np.float32),
    }
    train_step = jax.jit(functions.train_step, donate_argnums=0)
    taken = []
    for _ in range(steps + 2):
        start_s = time.perf_counter()
        state, metrics = train_step(state, batch)
        jax.block_until_ready((state, metrics))
        taken.append(time.perf_counter() - start_s)
    return taken[2:]


def seconds_torch(dtype: str, steps: int) -> list[float]:
    import torch
    from torch import nn
    from torch.nn import functional as f

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            b, t, d = x.shape
            heads = self.qkv(self.norm_1(x)).view(b, t, 3, HEADS, d // HEADS)
            q, k, v = heads.permute(2, 0, 3, 1, 4)
            attended = f.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(attended.transpose(1, 2).reshape(b, t, d))
            return x + self.down(f.gelu(self.up(self.norm_2(x)), approximate="tanh"))

    class GPT2(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCAB, WIDTH), nn.Embedding(1024, WIDTH)
            self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
            self.norm = nn.LayerNorm(WIDTH)

        def forward(self, tokens):
            x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
            return f.linear(self.norm(self.blocks(x)), self.tokens.weight)

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    model = GPT2()
    for parameter in model.parameters():
        # GPT-2's own: with PyTorch's N(0, 1) embeddings the logits are so far apart that softmax
        # gives subnormal numbers, on which these matrix products take four times as long.
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)
    tokens = torch.randint(0, VOCAB, (ROWS, TOKENS + 1))
    taken = []
    for _ in range(steps + 2):
        start_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(tokens[:, :-1])
            loss = f.cross_entropy(logits.view(-1, VOCAB), tokens[:, 1:].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        taken.append(time.perf_counter() - start_s)
    return taken[2:]


SIDES = {"jax": seconds_jax, "torch": seconds_torch}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Seconds per train step of GPT-2 124M, here and in PyTorch."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--side", choices=SIDES, help="measure only this side, in this process")
    args = parser.parse_args()
    if args.side:
        from zoo.common.process import keep_freed_memory

        if args.side == "jax":  # what zoo.train does too
            keep_freed_memory()
        print(json.dumps(SIDES[args.side](args.dtype, args.steps)))
        return
    best: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(args.rounds):
        for side in SIDES:
            command = [sys.executable, __file__, f"--side={side}", f"--dtype={args.dtype}"]
            done = subprocess.run(
                [*command, f"--steps={args.steps}"], stdout=subprocess.PIPE, check=True
            )
            taken = json.loads(done.stdout)
            best[side].append(min(taken))
            print(f"{side:6} {args.dtype} " + " ".join(f"{s:.2f}" for s in taken), flush=True)
    jax_s, torch_s = min(best["jax"]), min(best["torch"])
    print(f"best: jax {jax_s:.2f} s, torch {torch_s:.2f} s; torch / jax = {torch_s / jax_s:.2f}")


if __name__ == "__main__":
    main()
