"""The contrasts: exact sizes, sources, and objectives that suit their models."""

import dataclasses

import pytest

import configs
from configs.paper import Paper, nearest
from configs.parts.objectives import Continuation, MaskedTokens, NextToken, SpanCorruption
from models.config import ConfigError
from models.model import num_params
from tests.configs.test_configs import papers_choices, printed

COUNTS = {
    "transformer_base": 63_045_632,
    "transformer_big": 214_171_648,
    "bert_base": 110_106_428,
    "bert_large": 336_226_108,
    "t5_77m": 76_961_152,
    "t5_250m": 247_577_856,
    "t5_800m": 783_150_080,
    "t5_3b": 2_849_757_184,
    "t5_11b": 11_135_332_352,
}
contrasts = pytest.mark.parametrize("name", configs.CONTRASTS)


@pytest.mark.parametrize("name", COUNTS)
def test_every_published_size_is_exact(name: str):
    assert num_params(configs.get(name).model) == COUNTS[name]


def test_the_next_sentence_head_and_the_pooler_are_counted():
    model = configs.get("bert_base").model
    stack = dataclasses.replace(model.stack, heads=("masked_tokens",))
    without = num_params(dataclasses.replace(model, stack=stack))
    assert num_params(model) - without == 768 * 768 + 768 + 768 * 2 + 2


@contrasts
def test_every_choice_has_a_source_or_is_said_not_to_be_published(name: str):
    module = configs.CONTRASTS[name]
    paper: Paper = module.PAPER
    keys, used = [*paper.sources, *paper.not_published], set()
    assert len(keys) == len(set(keys))
    for model, experiment in module.PUBLISHED.items():
        for path in [*papers_choices(experiment), "objective"]:
            assert paper.of_model(model).note(path) is not None, path
            used.add(nearest(path, keys))
    assert set(keys) <= used | {"model.embedding_dropout"}, "a key that covers no field"


@contrasts
def test_a_printed_count_that_differs_is_explained(name: str):
    module = configs.CONTRASTS[name]
    assert set(module.REPORTED_PARAMS) == set(module.PUBLISHED)
    different = {
        model
        for model, reported in module.REPORTED_PARAMS.items()
        if printed(COUNTS[model], like=reported) != reported
    }
    assert different == set(module.PAPER.mismatches)


@contrasts
def test_the_small_model_can_be_compared_with_those_of_the_families(name: str):
    ours, gpt2 = configs.get(f"{name}_small"), configs.get("gpt2_small")
    assert num_params(ours.model) == pytest.approx(num_params(gpt2.model), rel=0.02)
    assert ours.model.vocab_size == gpt2.model.vocab_size
    assert ours.num_tokens == pytest.approx(gpt2.num_tokens, rel=1e-3)
    assert (ours.seq_len, ours.batch_tokens) == (gpt2.seq_len, gpt2.batch_tokens)
    assert num_params(configs.get(f"{name}_nano").model) < 80_000


def test_t5_reads_511_tokens_and_writes_114():
    """Raffel et al.'s lengths, 512 and 114, where an end mark stands in the source too."""
    experiment = configs.get("t5_77m")
    assert isinstance(experiment.objective, SpanCorruption)
    assert experiment.objective.lengths(experiment.seq_len) == (511, 114)
    assert experiment.objective.num_spans(experiment.seq_len) == 28


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("gpt2_nano", Continuation()),
        ("bert_nano", NextToken()),
        ("t5_nano", MaskedTokens(cls_id=1, sep_id=2, mask_id=3)),
    ],
)
def test_an_objective_that_a_model_cannot_learn_is_refused(name: str, objective):
    with pytest.raises(ConfigError, match="a decoder learns NextToken"):
        dataclasses.replace(configs.get(name), objective=objective)


def test_a_mark_outside_of_the_table_is_refused():
    objective = MaskedTokens(cls_id=1, sep_id=2, mask_id=512)
    with pytest.raises(ConfigError, match=r"names the id 512, and model\.vocab_size=512"):
        dataclasses.replace(configs.get("bert_nano"), objective=objective)


def test_masked_documents_are_refused():
    run = configs.get("bert_nano")
    with pytest.raises(ConfigError, match=r"--data\.packing=unmasked"):
        dataclasses.replace(run, data=dataclasses.replace(run.data, packing="whole"))


def test_a_contrast_is_no_model_of_a_family():
    assert not set(configs.MODELS) & set(configs.CONTRAST_MODELS)
    assert configs.family_of("bert_large") == "bert"
    with pytest.raises(ConfigError, match="bert_base has an encoder, which zoo.train"):
        configs.get_decoder("bert_base")


def test_the_flops_of_two_stacks_are_those_of_their_products():
    """Counted by hand for transformer_nano: one layer each of width 32, 32 + 32 tokens of 64."""
    run = configs.get("transformer_nano")
    attention, feed_forward, d, s, t = 4 * 32 * 32, 2 * 32 * 128, 32, 32, 32
    encoder = (attention + feed_forward) * s + 2 * d * d * s
    decoder = (attention + 2 * d * d + feed_forward + 512 * d) * t
    pairs = s * s + t * (t + s)
    assert run.train_flops_per_token == (6 * (encoder + decoder) + 12 * d * pairs) / 64
