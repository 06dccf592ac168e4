"""The zoo's models in the LM Evaluation Harness, beside its own backend for Hugging Face models."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, processors

import zoo
from models.config import ConfigError
from tests.zoo import hf_folders
from tests.zoo.test_cli import check_refusal
from zoo import convert, evaluate
from zoo.inference.harness import HarnessModel, begins_with_bos

CONTEXT = 31
TEXT = "a model reads tokens and learns which of them comes next ; "


def make_folder(folder: Path, architecture: str) -> Path:
    """A model whose tokenizer has one mark; LLaMA's puts it before a text, and GPT-2's does not."""
    marks = {"bos_token_id": 0, "eos_token_id": 0}
    hf_folders.make(folder, hf_folders.CONFIGS[architecture] | marks)
    if architecture == "llama":
        path = str(folder / "tokenizer.json")
        tokenizer = Tokenizer.from_file(path)
        mark = "<|endoftext|>"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{mark} $A", special_tokens=[(mark, 0)]
        )
        tokenizer.save(path)
    return folder


@dataclasses.dataclass(frozen=True)
class Both:
    """The same weights in the zoo and in the harness' own backend."""

    architecture: str
    checkpoint: Path
    ours: HarnessModel
    theirs: Any
    """An HFLM, whose type its decorator hides."""


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def both(request, tmp_path_factory) -> Both:
    root = tmp_path_factory.mktemp(request.param)
    folder = make_folder(root / "hf", request.param)
    convert.main([f"--from-hf={folder}", f"--out={root / 'imported'}"])
    make_theirs: Any = HFLM
    theirs = make_theirs(str(folder), device="cpu", dtype="float32", batch_size=1)
    assert theirs.max_length == CONTEXT
    model = zoo.load(root / "imported")
    ours = HarnessModel(model, max_length=CONTEXT, batch_size=3)
    return Both(request.param, root / "imported", ours, theirs)


def requests(kind: Any, arguments: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]


def test_a_text_begins_as_the_tokenizer_begins_it(both: Both):
    assert begins_with_bos(both.ours._vocabulary) == (both.architecture == "llama")
    for text in ("a model", " reads  tokens", "é€"):
        assert both.ours.tok_encode(text) == both.theirs.tok_encode(text)
    assert both.ours.prefix_token_id == both.theirs.prefix_token_id
    assert both.ours.max_length == both.theirs.max_length


def test_log_likelihoods_are_those_of_the_harness(both: Both):
    """Contexts of all lengths: none, some, one that fills the model, and one that is cut."""
    contexts = ["", "a", "a model reads ", TEXT, TEXT * 2]
    continuations = [" tokens", "x", " and learns which"]
    pairs = [(c, continuation) for c in contexts for continuation in continuations]
    ours = both.ours.loglikelihood(requests("loglikelihood", pairs))
    theirs = both.theirs.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    assert [value for value, _ in ours] == pytest.approx([v for v, _ in theirs], rel=1e-5)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_the_likeliest_continuation_is_told_from_another(both: Both):
    ids = both.ours.tok_encode("a model")
    likeliest = int(np.argmax(both.ours._model.logits([ids])[0, -1]))
    pairs = [(("", ""), ids, [likeliest]), (("", ""), ids, [likeliest, 5]), (("", ""), ids, [5])]
    ours = both.ours._loglikelihood_tokens(pairs)
    theirs = both.theirs._loglikelihood_tokens(pairs, disable_tqdm=True)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert [greedy for _, greedy in ours] == [True, False, False]


def test_rolling_log_likelihoods_are_those_of_the_harness(both: Both):
    """Shorter than the context, as long, and several windows."""
    texts = [("a",), (TEXT,), (TEXT * 2,), (TEXT * 7,)]
    ours = both.ours.loglikelihood_rolling(requests("loglikelihood_rolling", texts))
    theirs = both.theirs.loglikelihood_rolling(
        requests("loglikelihood_rolling", texts), disable_tqdm=True
    )
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_greedy_generations_are_those_of_the_harness(both: Both):
    settings = [
        {"until": [], "max_gen_toks": 20},
        {"until": ["e", "xyz"], "max_gen_toks": 20},
        {"until": "t", "max_gen_toks": 9, "do_sample": False},
    ]
    contexts = ["a", "a model reads", TEXT * 2]
    arguments = [(context, setting) for context in contexts for setting in settings]
    ours = both.ours.generate_until(requests("generate_until", arguments))
    theirs = both.theirs.generate_until(requests("generate_until", arguments), disable_tqdm=True)
    assert ours == theirs
    assert any(ours)


def test_sampling_follows_its_settings(both: Both):
    settings = {"until": [], "max_gen_toks": 5, "do_sample": True, "temperature": 1.0, "top_k": 1}
    greedy = {"until": [], "max_gen_toks": 5}
    arguments = [("a model", settings), ("a model", greedy)]
    one, other = both.ours.generate_until(requests("generate_until", arguments))
    assert one == other


def test_what_does_not_fit_is_refused(both: Both):
    too_long = requests("generate_until", [("a", {"until": [], "max_gen_toks": CONTEXT})])
    with pytest.raises(ConfigError, match="generates up to 31 tokens, and the model sees 31"):
        both.ours.generate_until(too_long)
    with pytest.raises(ConfigError, match="scores .* tokens at once, and the model sees 31"):
        both.ours.loglikelihood(requests("loglikelihood", [("a", TEXT * 3)]))


# --- tasks -------------------------------------------------------------------------------------

TASKS = {
    "zoo_choice": """
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_target: "{{label}}"
doc_to_choice: ["tokens", "models"]
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "zoo_words": """
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["e"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "zoo_rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{page}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with one task of each kind, on a file of four documents."""
    documents = [
        {"text": "a model reads", "label": 0, "answer": "x", "page": TEXT},
        {"text": "and learns", "label": 1, "answer": "y", "page": TEXT * 3},
        {"text": TEXT, "label": 0, "answer": "z", "page": "def loss"},
        {"text": "which of", "label": 1, "answer": "", "page": "é€"},
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, content in TASKS.items():
        (folder / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ntest_split: test\n"
            f"dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {tmp_path / 'cache'}}}\n"
            f"{content}"
        )
    return folder


def test_the_command_gives_the_numbers_of_the_harness(both: Both, tasks: Path, run_here):
    flags = [f"--checkpoint={both.checkpoint}", f"--include-path={tasks}", "--num-fewshot=0"]
    outcome = run_here(
        evaluate.main, *flags, "--tasks=zoo_choice,zoo_words", "zoo_rolling", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    ours = json.loads(outcome.stdout)
    theirs: Any = simple_evaluate(
        both.theirs,
        tasks=[*TASKS],
        num_fewshot=0,
        task_manager=TaskManager(include_path=tasks, include_defaults=False),
        log_samples=False,
    )
    assert ours["results"].keys() == theirs["results"].keys() == TASKS.keys()
    for name in TASKS:
        for metric, value in theirs["results"][name].items():
            expected = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
            assert ours["results"][name][metric] == expected, (name, metric)
    assert ours["n-samples"]["zoo_choice"]["effective"] == 4


def test_a_person_reads_the_table_of_the_harness(both: Both, tasks: Path, run_here):
    flags = [f"--checkpoint={both.checkpoint}", f"--include-path={tasks}", "--limit=2"]
    outcome = run_here(evaluate.main, *flags, "--tasks=zoo_choice")
    assert outcome.code == 0, outcome.stderr
    assert "|zoo_choice|" in outcome.stdout
    assert "acc_norm" in outcome.stdout


BAD = {
    "both kinds": (["--tasks=x", "--task=stdlib"], 2, ("--data.*", "LM Evaluation Harness")),
    "stride": (["--tasks=x", "--stride=3"], 2, ("--stride is for text",)),
    "no such folder": (["--tasks=x", "--include-path=nowhere"], 2, ("=nowhere", "no such folder")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_flag_is_refused(name: str, trained, run_here):
    flags, code, parts = BAD[name]
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", *flags)
    check_refusal(outcome, code, parts)


def test_data_that_is_gone_is_one_message(both: Both, tasks: Path, run_here):
    (tasks.parent / "data.jsonl").unlink()
    flags = [f"--checkpoint={both.checkpoint}", f"--include-path={tasks}", "--tasks=zoo_choice"]
    check_refusal(run_here(evaluate.main, *flags), 3, ("--tasks=zoo_choice", "cannot be read"))


def test_without_the_harness_the_message_says_how_to_install_it(trained, run_here, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = run_here(evaluate.main, f"--checkpoint={trained.workdir}", "--tasks=arc_easy")
    check_refusal(outcome, 2, ("LM Evaluation Harness", "pip install 'gpt-zoo[lm-eval]'"))


def test_models_of_the_zoo_begin_with_bos(trained):
    vocabulary = zoo.load(trained.workdir).vocabulary
    assert begins_with_bos(vocabulary)
