"""The register of all models, and the rules that hold in every family."""

import dataclasses
import re
from collections.abc import Iterator

import pytest

import configs
from configs.experiment import Experiment
from configs.paper import Paper, nearest
from data.config import Task
from models.config import ConfigError
from models.model import num_params
from zoo.explaining.model_card import model_card

RECIPE = {"num_steps", "batch_tokens", "seq_len", "z_loss", "param_dtype", "execution.dtype"}
RECIPE |= {"data.packing", "data.vocabulary_style"}

KNOWN_MISPRINTS = {"gpt3_350m", "gpt3_13b", "gpt3_175b", "palm_540b", "llama_65b"}
"""Models whose printed digits are not the exact ones; the tests of their families say why."""

family_names = pytest.mark.parametrize("family", configs.FAMILIES)


def paths(value, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all fields, including those of nested dataclasses."""
    for field in dataclasses.fields(value):
        path, inner = f"{prefix}{field.name}", getattr(value, field.name)
        yield path
        if dataclasses.is_dataclass(inner):
            yield from paths(inner, f"{path}.")


def papers_choices(experiment: Experiment) -> list[str]:
    """Return the fields that a paper decides or leaves open: model, optimizer, reaction, RECIPE."""
    decided = ("model.", "optimizer", "batch_ramp", "divergence")
    return [
        path
        for path in paths(experiment)
        if path.startswith(decided) or path in RECIPE
        if path != "model.embedding_dropout" or experiment.model.dropout_rate > 0
    ]


def printed(count: int, like: str) -> str:
    """Round a count as a paper prints it: 1,557,611,200 like "1542M" is "1558M"."""
    unit = {"M": 1e6, "B": 1e9}[like[-1]]
    decimals = len(like[:-1].partition(".")[2])
    return f"{count / unit:.{decimals}f}{like[-1]}"


def test_every_model_is_named_after_its_family():
    assert len(configs.MODELS) == sum(len(family.FAMILY) for family in configs.FAMILIES.values())
    for name, family in configs.FAMILIES.items():
        for model_name, experiment in family.FAMILY.items():
            assert re.fullmatch(rf"{name}_(nano|small|\d+(\.\d)?[mb])", model_name)
            assert configs.get(model_name) is experiment


def test_an_unknown_name_offers_the_nearest_and_says_where_all_are():
    with pytest.raises(ConfigError, match="did you mean palm_small or .* or .*zoo.describe") as e:
        configs.get("palm_smal")
    assert len(str(e.value)) < 200
    with pytest.raises(ConfigError, match=r"did you mean \w+ or \w+ or"):
        configs.get("zzz")


@family_names
def test_every_published_size_prints_what_its_paper_prints(family: str):
    module = configs.FAMILIES[family]
    assert set(module.REPORTED_PARAMS) == set(module.PUBLISHED)
    assert set(module.FAMILY) == {f"{family}_nano", f"{family}_small", *module.PUBLISHED}
    counts = {name: num_params(experiment.model) for name, experiment in module.PUBLISHED.items()}
    assert counts == {name: model_card(name).num_params for name in counts}  # made without JAX
    different = {
        name
        for name, reported in module.REPORTED_PARAMS.items()
        if printed(counts[name], like=reported) != reported
    }
    assert different == KNOWN_MISPRINTS & set(module.PUBLISHED)
    assert different <= set(module.PAPER.mismatches) <= set(module.PUBLISHED)


@family_names
def test_every_choice_has_a_source_or_is_said_not_to_be_published(family: str):
    paper: Paper = configs.FAMILIES[family].PAPER
    keys = [*paper.sources, *paper.not_published]
    assert len(keys) == len(set(keys))
    used, paths_used = set(), set()
    for name, experiment in configs.FAMILIES[family].PUBLISHED.items():
        for path in papers_choices(experiment):
            assert paper.of_model(name).note(path) is not None, path
            used |= {nearest(f"{name}:{path}", keys) or nearest(path, keys)}
            paths_used.add(path)
    assert set(keys) <= used, "a key that covers no field"
    assert set(paper.reasons) <= paths_used, "a reason for no field"
    assert "optimizer.decays" in used, "which parameters decay"
    assert all({**paper.sources, **paper.not_published, **paper.reasons}.values())


def test_the_small_models_can_be_compared():
    small = [configs.get(f"{family}_small") for family in configs.FAMILIES]
    counts = [num_params(experiment.model) for experiment in small]
    assert max(counts) <= 1.05 * min(counts)
    for experiment in small:
        assert experiment.model.vocab_size == small[0].model.vocab_size
        assert experiment.data.source == small[0].data.source
        assert experiment.seq_len == experiment.model.context_length == small[0].seq_len
        assert experiment.batch_tokens == small[0].batch_tokens
        assert experiment.num_tokens == pytest.approx(small[0].num_tokens, rel=1e-3)


@family_names
def test_every_size_packs_documents_as_the_paper_does(family: str):
    module = configs.FAMILIES[family]
    assert {experiment.data.packing for experiment in module.FAMILY.values()} == {"unmasked"}
    assert {experiment.data.source for experiment in module.FAMILY.values()} == {Task()}


@family_names
def test_the_sources_of_the_text_add_up(family: str):
    """To within the rounding of their printed shares."""
    paper: Paper = configs.FAMILIES[family].PAPER
    assert sum(source.percent for source in paper.mixture) == pytest.approx(100, abs=1)
    assert len({source.name for source in paper.mixture}) == len(paper.mixture)
    assert paper.mixture_source


def test_published_epochs_agree_with_the_shares_and_the_tokens():
    """GPT-3's Table 2.2 gives the size of each source too, in billions of tokens."""
    sizes = {"Common Crawl, filtered": 410, "WebText2": 19, "Books1": 12, "Books2": 55}
    for source in configs.FAMILIES["gpt3"].PAPER.mixture:
        if source.name in sizes:
            epochs = 300 * source.percent / 100 / sizes[source.name]
            assert source.epochs == pytest.approx(epochs, rel=0.2)


@family_names
def test_the_nano_models_are_tiny(family: str):
    nano = configs.get(f"{family}_nano")
    assert num_params(nano.model) < 80_000
    assert nano.num_tokens < 20_000
