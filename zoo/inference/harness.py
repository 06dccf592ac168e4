"""A model of the zoo in EleutherAI's LM Evaluation Harness (`lm-eval`).

What is scored, cut and generated follows the harness' own backend for Hugging Face models, so that
imported weights get the same numbers here and there.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tokenizers
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    Collator,
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from data.vocabularies.hugging_face import JSON_FILE, SPECIAL_IDS_FILE
from data.vocabularies.vocabulary import Vocabulary
from models.config import check
from zoo.inference.decode import Prompts, Sampling
from zoo.inference.generation import generate
from zoo.inference.language_model import LanguageModel

DEFAULT_MAX_TOKENS = 256
"""Tokens that a task generates if it does not say how many, as in the harness."""

Pair = tuple[Any, list[int], list[int]]
"""The request, or None; the ids of the context; the ids to score."""


class HarnessModel(TemplateLM):
    """The three kinds of requests of the harness, answered by a `LanguageModel`."""

    def __init__(self, model: LanguageModel, *, max_length: int, batch_size: int):
        """Answer `batch_size` requests at a time, each with at most `max_length` input tokens."""
        super().__init__()
        self._model = model
        self._vocabulary = model.vocabulary
        self.max_length = max_length
        self._batch_size = batch_size
        self._start = self._vocabulary.start if begins_with_bos(self._vocabulary) else []

    @property
    def eot_token_id(self) -> Any:
        """The id that ends a document; None if the vocabulary has none."""
        return self._vocabulary.eos_id

    @property
    def prefix_token_id(self) -> int:
        """The id before a text that has no context: BOS or, without one, EOS."""
        bos_id, eos_id = self._vocabulary.bos_id, self._vocabulary.eos_id
        prefix_id = eos_id if bos_id is None else bos_id
        check(
            prefix_id is not None,
            "the model's vocabulary has neither BOS nor EOS, and a task asks for the probability "
            "of a text without a context; leave that task out",
        )
        assert prefix_id is not None
        return prefix_id

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Return the ids of a text; None: with BOS if the vocabulary puts it before a text."""
        start = self._vocabulary.start if add_special_tokens else self._start
        return [*([] if add_special_tokens is False else start), *self._vocabulary.encode(string)]

    # --- log-likelihoods ---

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-probability of each text, in windows of `max_length` tokens.

        The first token is given BOS. Windows are disjoint, but the last one begins earlier if it
        would be shorter.
        """
        pairs: list[Pair] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, 1
            )
            for window in windows:
                pairs.append((None, *make_disjoint_window(window)))
                owners.append(number)
        totals = [0.0] * len(requests)
        for owner, (log_probability, _) in zip(owners, self._loglikelihood_tokens(pairs)):
            totals[owner] += log_probability
        return totals

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        ordered = Collator(requests, sort_fn=lambda pair: (-len(pair[1]) - len(pair[2]), pair[1:]))
        answers: list[tuple[float, bool]] = []
        for batch in ordered.get_batched(n=self._batch_size):
            answers += self._score(list(batch))
        return ordered.get_original(answers)

    def _score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        """Return the log-probability of each continuation, and whether it is the likeliest.

        What is too long for the model loses its beginning.
        """
        longest = max(len(continuation) for _, _, continuation in pairs)
        check(
            longest <= self.max_length,
            f"a task scores {longest} tokens at once, and the model sees {self.max_length}; leave "
            "that task out, or give a model of rotary or relative positions a longer --seq-len",
        )
        sequences = [(c + continuation)[-self.max_length - 1 :] for _, c, continuation in pairs]
        # Powers of two, so that few shapes are compiled.
        num_rows = min(_power_of_two(len(pairs)), self._batch_size)
        width = min(_power_of_two(max(map(len, sequences)) - 1), self.max_length)
        rows = np.zeros((num_rows, width + 1), np.int32)
        for row, sequence in zip(rows, sequences):
            row[: len(sequence)] = sequence
        all_log_p, all_likeliest = map(np.asarray, self._model.token_scores(rows))
        answers = []
        for sequence, (_, _, continuation), log_p, likeliest in zip(
            sequences, pairs, all_log_p, all_likeliest
        ):
            scored = slice(len(sequence) - 1 - len(continuation), len(sequence) - 1)
            total = float(np.sum(log_p[scored], dtype=np.float64))
            answers.append((total, bool(likeliest[scored].all())))
        return answers

    # --- generation ---

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the continuation of each context up to one of its stop words or EOS."""
        all_args: list[Any] = [request.args for request in requests]  # (context, settings)
        ordered = Collator(
            all_args,
            sort_fn=lambda args: (-len(self.tok_encode(args[0])), args[0]),
            group_by="gen_kwargs",
        )
        answers: list[str] = []
        for batch in ordered.get_batched(n=self._batch_size):
            contexts, (settings, *_) = zip(*batch, strict=True)
            answers += self._generate(contexts, settings)
        return ordered.get_original(answers)

    def _generate(self, contexts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(settings, DEFAULT_MAX_TOKENS))
        max_tokens = wanted["max_gen_toks"]
        room = self.max_length - max_tokens
        check(
            room > 0,
            f"a task generates up to {max_tokens} tokens, and the model sees {self.max_length}, "
            "which leaves none for the context; leave that task out, or give a model of rotary or "
            "relative positions a longer --seq-len",
        )
        prompts = [
            self.tok_encode(context)[-room:] or [self.prefix_token_id] for context in contexts
        ]
        # No id is forbidden, as in the harness; marks have no text.
        allowed = np.ones((len(prompts), self._model.experiment.model.vocab_size), bool)
        chunks = generate(
            self._model.graphdef,
            self._model.params,
            Prompts(prompts, allowed, allowed, self.eot_token_id),
            max_tokens=max_tokens,
            sampling=_sampling(wanted),
            seed=0,
        )
        return self._until_stop(chunks, len(prompts), handle_stop_sequences(wanted["until"], None))

    def _until_stop(
        self, chunks: Iterable[np.ndarray], num_rows: int, stop: list[str]
    ) -> list[str]:
        """Return the text of each row up to a stop word; generate no more than that needs."""
        ids: list[list[int]] = [[] for _ in range(num_rows)]
        texts = [""] * num_rows
        for chunk in chunks:
            for row, new in zip(ids, chunk.tolist(), strict=True):
                row += new
            whole = [self._text(row) for row in ids]
            texts = [postprocess_generated_text(text, stop, None) for text in whole]
            if all(
                text != before or self.eot_token_id in row
                for text, before, row in zip(texts, whole, ids, strict=True)
            ):
                break
        return texts

    def _text(self, ids: list[int]) -> str:
        """Return the text before EOS; ids that the vocabulary does not have are left out."""
        end = ids.index(self.eot_token_id) if self.eot_token_id in ids else len(ids)
        return self._vocabulary.decode(i for i in ids[:end] if i < self._vocabulary.size)


def begins_with_bos(vocabulary: Vocabulary) -> bool:
    """Return whether a text by itself begins with BOS, by the custom of the vocabulary.

    Models trained in the zoo see BOS before each document. An imported vocabulary does what
    `transformers` does with its files: GPT-2's has no BOS before a text, LLaMA's has.
    """
    files = vocabulary.to_files()
    if SPECIAL_IDS_FILE not in files or vocabulary.bos_id is None:
        return vocabulary.bos_id is not None
    settings = json.loads(files.get("tokenizer_config.json", b"{}"))
    if (adds_bos := settings.get("add_bos_token")) is not None:
        return bool(adds_bos)
    if JSON_FILE in files:
        tokenizer = tokenizers.Tokenizer.from_str(files[JSON_FILE].decode("utf-8"))
        return tokenizer.encode("a", add_special_tokens=True).ids[:1] == [vocabulary.bos_id]
    return True


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()


def _sampling(settings: dict[str, Any]) -> Sampling:
    if not settings["do_sample"]:
        return Sampling(temperature=0)
    return Sampling(
        temperature=settings["temperature"] or 1.0,
        top_k=settings.get("top_k") or None,
        top_p=settings.get("top_p"),
    )
