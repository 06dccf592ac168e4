"""`python -m zoo.sample` for an encoder, alone or with a decoder."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from models.config import check
from zoo.contrasts.loading import load
from zoo.contrasts.masked_text import Filled, MaskedTextModel
from zoo.contrasts.text_to_text import TextToTextModel
from zoo.inference.decode import Sampling


def sample(
    checkpoint: str,
    step: Any,
    prompts: Sequence[str],
    *,
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    as_json: bool,
) -> None:
    """Print each prompt with its gaps filled, or what the decoder writes for it."""
    model = load(checkpoint, step=step)
    match model:
        case MaskedTextModel():
            found = model.fill(prompts)
            samples = [
                {
                    "prompt": prompt,
                    "text": filled.text,
                    "gaps": [[dataclasses.asdict(c) for c in gap] for gap in filled.gaps],
                }
                for prompt, filled in zip(prompts, found, strict=True)
            ]
            shown = list(map(_shown, found))
        case TextToTextModel():
            check(all(prompts), "an encoder needs a text to read; write one with --prompt")
            texts = model.sample(prompts, max_tokens=max_tokens, sampling=sampling, seed=seed)
            samples = [
                {"prompt": prompt, "text": text}
                for prompt, text in zip(prompts, texts, strict=True)
            ]
            shown = [f"{sample['prompt']}{sample['text']}\n" for sample in samples]
    if as_json:
        print(json.dumps({"checkpoint": checkpoint, "samples": samples}))
        return
    for number, text in enumerate(shown):
        sys.stdout.write(text if not number else f"\n{f' sample {number + 1} ':-^80}\n{text}")


def _shown(filled: Filled) -> str:
    lines = [filled.text]
    for number, gap in enumerate(filled.gaps, start=1):
        likely = ", ".join(f"{c.text!r} {c.probability:.1%}" for c in gap)
        lines.append(f"  gap {number}: {likely}")
    return "\n".join([*lines, ""])
