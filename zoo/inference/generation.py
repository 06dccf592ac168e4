"""New tokens for prompts, as they are drawn, by a model alone or with a draft."""

import itertools
from collections.abc import Iterator

import numpy as np
from flax import nnx

from zoo.inference.decode import Prompts, Sampling, draw_in_chunks
from zoo.inference.speculative import Draft, draw_in_rounds


def generate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompts: Prompts,
    *,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
    draft: Draft | None = None,
) -> Iterator[np.ndarray]:
    """Yield the new tokens, [B, n] at a time, until every row has ended or has `max_tokens`.

    A row that has drawn its `end_id` still gets tokens; the caller cuts it there.
    """
    settings = {"max_tokens": max_tokens, "sampling": sampling, "seed": seed}
    if draft is None:
        chunks = draw_in_chunks(graphdef, params, prompts, **settings)
    else:
        chunks = draw_in_rounds(graphdef, params, draft, prompts, **settings)
    running = np.ones(len(prompts.tokens), bool)
    num_left = max_tokens
    # Each chunk is read only once the next one is dispatched, so that the device never waits.
    for chunk, _ in itertools.pairwise(itertools.chain(chunks, [None])):
        assert chunk is not None
        if draft is not None:
            draft.tally.add(chunk)
        tokens = chunk.on_host()[:, :num_left]
        num_left -= tokens.shape[1]
        yield tokens
        if prompts.end_id is not None:
            running &= ~(tokens == prompts.end_id).any(axis=1)
        if not running.any() or num_left == 0:
            return
