"""Bytes, BPE and unigram tokens: one model, one budget, compared in bits per byte."""

import dataclasses
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.experiment import Experiment
from data.config import Data, VocabularyStyle
from data.run_vocabulary import training_sample
from data.storage import cache_folder
from data.text.corpus import Weighted
from data.training_data import read_corpora
from data.vocabularies.styles import ModelType, train
from data.vocabularies.vocabulary import Vocabulary
from models.config import check
from zoo.ablation.equal import train_flops_per_token
from zoo.ablation.report import BITS
from zoo.ablation.study import Trained
from zoo.ablation.workers import started
from zoo.explaining.tables import Table, count
from zoo.lessons.catalog import Report, Vocabularies
from zoo.lessons.differences import differences_from, drawing, sentence, table, to_json
from zoo.lessons.shown import Shown
from zoo.lessons.timing import machine
from zoo.reporting.plots import Line, Panel
from zoo.scaling_laws.sizes import experiment, num_params, of_width, smallest_of

NUM_BYTE_IDS = 257
"""Tokens of GPT-2's byte-level BPE without a merge: the bytes, and the end of a text."""
SHORT = (
    "A unigram vocabulary is made to fit the frequencies of tokens, which is most of what a short "
    "run learns: look at a longer one, too (--num-bytes)."
)
LIBRARY = (
    "SentencePiece is no alternative to BPE: it is the library that trained both of the last two, "
    "one by merging pairs and one by pruning a unigram model. Loss per token would compare "
    "nothing, because a token of one is not a token of the other; bits per byte does."
)


@dataclass(frozen=True)
class Kind:
    """One way to make tokens."""

    style: VocabularyStyle
    model_type: ModelType


KINDS = {
    "bytes": Kind("gpt2", "bpe"),
    "BPE": Kind("palm", "bpe"),
    "unigram": Kind("palm", "unigram"),
}


@dataclass(frozen=True)
class VocabularyRun:
    """A vocabulary with the run that reads the text with it."""

    name: str
    vocabulary: Vocabulary
    bytes_per_token: float
    """On the held-out text."""
    run: Experiment

    @property
    def flops(self) -> float:
        """Training FLOPs of the run, all matrix products."""
        return float(train_flops_per_token(self.run.model, self.run.seq_len)) * self.run.num_tokens

    @property
    def table_params(self) -> int:
        """Parameters of the tables of tokens."""
        tables = 1 if self.run.model.tie_embeddings else 2
        return tables * self.run.model.vocab_size * self.run.model.d_model

    @property
    def text_bytes(self) -> float:
        """Bytes of text that the run reads."""
        return self.run.num_tokens * self.bytes_per_token

    def seeded(self, seed: int) -> Experiment:
        """Return the run with a seed for its text and its parameters."""
        return dataclasses.replace(
            self.run, seed=seed, data=dataclasses.replace(self.run.data, seed=seed)
        )


def prepare(lesson: Vocabularies, folder: Path, report: Report) -> list[VocabularyRun]:
    """Train the vocabularies into the folder, and plan the run of each within the budget.

    Raises ConfigError if a run would have fewer than ten steps, DataConfigError if the text does
    not suit the size, and DataError if it cannot be read.
    """
    smallest_of(lesson.family)  # raises before anything is trained
    corpora = read_corpora(Data(source=lesson.source), cache_folder(None), report)
    texts = list(training_sample(corpora, lesson.vocabulary_bytes))
    ways: dict[str, tuple[Vocabulary, float]] = {}
    for name, kind in KINDS.items():
        size = NUM_BYTE_IDS if name == "bytes" else lesson.vocab_size
        vocabulary = train(texts, size, kind.style, kind.model_type, setting="--vocab-size")
        ways[name] = vocabulary, bytes_per_token(vocabulary, corpora)
        report(f"{name}: {vocabulary.size:,} tokens, {ways[name][1]:.2f} bytes per token")
        (folder / name).mkdir()
        for file, content in vocabulary.to_files().items():
            (folder / name / file).write_bytes(content)
    vocabulary, per_token = ways["BPE"]
    flops = _flops_per_token(lesson, vocabulary) * lesson.num_bytes / per_token
    found = []
    for name, (vocabulary, per_token) in ways.items():
        match lesson.equal:
            case "flops":
                num_tokens = flops / _flops_per_token(lesson, vocabulary)
            case "bytes":
                num_tokens = lesson.num_bytes / per_token
        run = _run(lesson, vocabulary, num_tokens)
        check(
            run.num_steps >= 10,
            f"--num-bytes={lesson.num_bytes:g} gives {name} {run.num_steps} steps of "
            f"--batch-tokens={lesson.batch_tokens:,}, and the lesson needs 10; write a larger "
            "--num-bytes",
        )
        data = dataclasses.replace(run.data, vocabulary=str(folder / name))
        run = dataclasses.replace(run, data=data)
        found.append(VocabularyRun(name, vocabulary, per_token, run))
    return found


def bytes_per_token(vocabulary: Vocabulary, corpora: Weighted) -> float:
    """Return the bytes per token of the held-out text."""
    num_bytes = num_tokens = 0
    for corpus, _ in corpora:
        for text in corpus.texts("validation"):
            ids = vocabulary.encode(text)
            num_tokens += len(ids)
            num_bytes += vocabulary.num_bytes(text, ids)
    return num_bytes / num_tokens


def _run(lesson: Vocabularies, vocabulary: Vocabulary, num_tokens: float) -> Experiment:
    small = smallest_of(lesson.family)
    model = dataclasses.replace(
        of_width(small.model, lesson.d_model),
        vocab_size=vocabulary.size,
        context_length=lesson.seq_len,
    )
    batch_size = lesson.batch_tokens // lesson.seq_len
    return experiment(small, model, num_tokens, batch_size, lesson.seq_len, lesson.source)


def _flops_per_token(lesson: Vocabularies, vocabulary: Vocabulary) -> int:
    return train_flops_per_token(_run(lesson, vocabulary, 1).model, lesson.seq_len)


def show(lesson: Vocabularies, report: Report) -> Shown:
    """Train in a temporary folder, and return what is seen."""
    with tempfile.TemporaryDirectory(prefix="zoo-demo-") as temporary:
        folder = Path(temporary)
        found = prepare(lesson, folder, report)
        runs: dict[str, list[Trained]] = {each.name: [] for each in found}
        with started(1) as (trainer,):
            for seed in range(lesson.seeds):
                for each in found:
                    trained = trainer(each.seeded(seed), folder / f"{each.name}-{seed}")
                    runs[each.name].append(trained)
                    report(f"{each.name}, seed {seed}: {_score(trained.bits_per_byte)} {BITS}")
    return shown(lesson, found, runs)


def shown(
    lesson: Vocabularies, found: list[VocabularyRun], runs: dict[str, list[Trained]]
) -> Shown:
    """Return what the runs of all vocabularies show; each has a run for every seed."""
    scores = {name: [trained.bits_per_byte for trained in of] for name, of in runs.items()}
    differences = differences_from("BPE", scores)
    return Shown(
        title="Vocabularies: bytes, BPE and unigram",
        seen=[
            *(sentence(*each) for each in differences.items()),
            _budget(lesson, found),
            SHORT,
            LIBRARY,
        ],
        tables=[_vocabularies(lesson, found), _scores(runs), table(differences)],
        panels=[_panel(found, runs)],
        drawings=[("Differences", drawing("Differences", differences))],
        device=machine(),
        compared=[
            {
                "name": each.name,
                "vocab_size": each.vocabulary.size,
                "bytes_per_token": each.bytes_per_token,
                "table_params": each.table_params,
                "num_params": num_params(each.run.model),
                "num_tokens": each.run.num_tokens,
                "text_bytes": each.text_bytes,
                "flops": each.flops,
            }
            for each in found
        ],
        measured=[
            {"name": name, "seed": seed, "bits_per_byte": trained.bits_per_byte}
            for name, of_seeds in runs.items()
            for seed, trained in enumerate(of_seeds)
        ],
        differences=to_json(differences),
    )


def _score(bits: float | None) -> str:
    return "diverged" if bits is None else f"{bits:.4f}"


def _budget(lesson: Vocabularies, found: list[VocabularyRun]) -> str:
    """Return what the equal budget means for what is not equal."""
    match lesson.equal:
        case "flops":
            read = ", ".join(f"{each.name} {count(each.text_bytes)}" for each in found)
            return f"At equal FLOPs, the runs read these bytes of text: {read}."
        case "bytes":
            cost = ", ".join(f"{each.name} {count(each.flops)}" for each in found)
            return f"For equal bytes of text, the runs need these FLOPs: {cost}."


def _vocabularies(lesson: Vocabularies, found: list[VocabularyRun]) -> Table:
    rows = [
        [
            each.name,
            f"{each.vocabulary.size:,}",
            f"{each.bytes_per_token:.2f}",
            f"{each.table_params:,}",
            f"{num_params(each.run.model):,}",
            f"{each.run.num_tokens:,}",
            count(each.text_bytes),
            count(each.flops),
        ]
        for each in found
    ]
    model = found[0].run.model
    note = (
        f"The choices and the recipe of {lesson.family}, layers: {model.num_layers}, width: "
        f"{model.d_model}; the models differ in the table of tokens alone. "
        f"{lesson.source.setting}; equal "
        f"{lesson.equal}. Sequences have {lesson.seq_len} tokens, so that a model of bytes sees "
        "the least text at a time. "
        f"The vocabularies were trained on {count(lesson.vocabulary_bytes)} bytes; bytes per token "
        "are those of the held-out text. FLOPs are those of all matrix products of the run."
    )
    head = (
        "tokens", "vocabulary", "bytes per token", "table parameters", "parameters", "tokens read",
        "bytes read", "FLOPs",
    )  # fmt: skip
    return Table("Vocabularies and their runs", head, rows, [note])


def _scores(runs: dict[str, list[Trained]]) -> Table:
    rows = []
    for name, of_seeds in runs.items():
        scores = [trained.bits_per_byte for trained in of_seeds]
        rows.append([name, *map(_score, scores), _score(_mean(scores))])
    seeds = [f"seed {seed}" for seed in range(max(map(len, runs.values())))]
    return Table(f"{BITS.capitalize()} of the held-out text", ("tokens", *seeds, "mean"), rows)


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if len(known) == len(scores) else None


def _panel(found: list[VocabularyRun], runs: dict[str, list[Trained]]) -> Panel:
    lines = []
    for style, each in enumerate(found):
        known = [t.bits_per_byte for t in runs[each.name] if t.bits_per_byte is not None]
        place = np.full(len(known), each.bytes_per_token)
        lines.append(Line(each.name, place, np.array(known), style=style, is_joined=False))
    return Panel(f"{BITS} of each run", "bytes per token", BITS, lines)
