"""The right variants are built, with equal budgets."""

import dataclasses
import itertools

import pytest

import configs
from configs.parts.optimizers import WarmupCosine
from configs.studies import STUDIES
from configs.studies.study import AblationStudy
from models.config import ConfigError
from models.model import num_params as count
from tests.zoo.ablation.synthetic import STUDY, with_choices
from zoo.ablation.choices import AXES, differing, taken
from zoo.ablation.equal import train_flops_per_token
from zoo.ablation.variants import Variants
from zoo.scaling_laws.sizes import num_params

FAMILIES = list(configs.FAMILIES)
NEIGHBOURS = list(itertools.pairwise([*FAMILIES, FAMILIES[0]]))
PAIRS = [*NEIGHBOURS, *((end, start) for start, end in NEIGHBOURS)]


def nano(start: str, end: str, **changes) -> Variants:
    names = {"start": f"{start}_nano", "end": f"{end}_nano"}
    return Variants(dataclasses.replace(STUDY, choices=None, **names, **changes))


def without_sizes(model):
    """The model with one shape, in which only its choices are left."""
    attention = dataclasses.replace(model.attention, head_dim=8)
    feed_forward = dataclasses.replace(model.feed_forward, d_ff=8)
    sizes = {"d_model": 32, "num_layers": 2, "context_length": 64, "vocab_size": 512}
    return dataclasses.replace(model, attention=attention, feed_forward=feed_forward, **sizes)


@pytest.mark.parametrize(("start", "end"), PAIRS)
def test_all_choices_together_make_the_end_in_the_shape_of_the_start(start, end):
    made = nano(start, end)
    run = made.run(frozenset(made.choices))
    assert without_sizes(run.model) == without_sizes(made.end.model)
    assert run.optimizer == made.end.optimizer
    assert (run.z_loss, run.data) == (made.end.z_loss, made.end.data)
    assert run.model.d_model == made.start.model.d_model
    assert differing(run, made.end) == []
    assert made.run(frozenset()) == made.start


@pytest.mark.parametrize(("start", "end"), PAIRS)
def test_each_variant_differs_from_the_start_in_its_choice_alone(start, end):
    made = nano(start, end, equal="tokens")
    for choice in made.choices:
        assert differing(made.start, made.run(frozenset({choice}))) == [choice]
        assert differing(made.run(frozenset(made.choices) - {choice}), made.end) == [choice]


@pytest.mark.parametrize("equal", ["flops", "params"])
@pytest.mark.parametrize(("start", "end"), PAIRS)
def test_budgets_are_equal_within_one_per_cent(start, end, equal):
    made = nano(start, end, equal=equal)
    cost = {"flops": lambda m: train_flops_per_token(m, 64), "params": num_params}[equal]
    budget = cost(made.start.model)
    for choice in made.choices:
        for variant in (frozenset({choice}), frozenset(made.choices) - {choice}):
            run = made.run(variant)
            assert cost(run.model) == pytest.approx(budget, rel=0.01)
            assert run.num_tokens == made.start.num_tokens


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_of_the_zoo_can_be_built(name):
    made = Variants(STUDIES[name])
    budget = train_flops_per_token(made.start.model, made.start.seq_len)
    for choice in made.choices:
        model = made.run(frozenset({choice})).model
        assert train_flops_per_token(model, made.start.seq_len) == pytest.approx(budget, rel=0.01)
    assert num_params(made.start.model) == count(made.start.model)


def test_the_peak_belongs_to_the_optimizer_and_the_form_to_the_schedule():
    made = nano("llama", "palm")
    start, end = made.start.optimizer, made.end.optimizer
    optimizer = made.run(frozenset({"optimizer"})).optimizer
    schedule = made.run(frozenset({"schedule"})).optimizer
    assert type(optimizer) is type(end)
    assert type(optimizer.schedule) is type(start.schedule)
    assert optimizer.schedule.peak_lr == end.schedule.peak_lr
    assert type(schedule) is type(start)
    assert type(schedule.schedule) is type(end.schedule)
    assert schedule.schedule.peak_lr == start.schedule.peak_lr


def test_a_seed_sets_the_text_and_the_parameters_and_a_place_the_peak():
    made = nano("gopher", "llama")
    start, run = made.start, made.run_with(frozenset(), 2, 7)
    assert (run.seed, run.data.seed) == (7, 7)
    before, after = start.optimizer.schedule, run.optimizer.schedule
    assert isinstance(before, WarmupCosine)
    assert isinstance(after, WarmupCosine)
    assert after.peak_lr == 4 * before.peak_lr
    assert after.initial_lr == 4 * before.initial_lr > 0
    restored = dataclasses.replace(run, seed=0, data=start.data, optimizer=start.optimizer)
    assert restored == start


def test_every_choice_can_be_named():
    run = nano("gpt1", "palm").start
    for axis in AXES.values():
        assert axis.words(run)
        assert axis.take(run, run) == run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "gpt9_nano"}, "model 'gpt9_nano' is not in the zoo"),
        ({"end": "gpt1_nano", "choices": None}, "gpt1_nano and gpt1_nano differ in no choice"),
        ({"choices": ("nrom",)}, "--choices: 'nrom' is no choice; write some of position layout"),
        ({"choices": ("z_loss",)}, "do not differ in 'z_loss'; write some of position"),
        ({"choices": ("norm", "norm")}, "--choices norm norm must name each choice once"),
        ({"seeds": 1}, "seeds=1 must be at least 2"),
        ({"num_tokens": 100.0}, "num_tokens=100 is less than one step of batch_tokens=512"),
        ({"num_tokens": float("nan")}, "num_tokens=nan must be above zero"),
        ({"batch_tokens": 100}, "batch_tokens=100 must be a multiple of seq_len=64"),
        ({"designs": ("path", "path")}, "designs=path path must name each design once"),
    ],
)
def test_a_mistake_in_a_study_is_one_message(changes, message):
    with pytest.raises(ConfigError, match=message):
        _ = Variants(dataclasses.replace(STUDY, **changes)).choices


def test_choices_that_cannot_be_combined_are_one_message():
    """Gopher's distances need a projection that no width of a layer of 8 can make up for."""
    made = Variants(
        AblationStudy(start="gpt1_nano", end="gopher_nano", d_model=16, vocab_size=64, seq_len=512,
                      batch_tokens=512)
    )  # fmt: skip
    with pytest.raises(ConfigError, match="--equal=flops cannot be held by `start with position`"):
        made.run(frozenset({"position"}))


def test_a_band_that_does_not_divide_the_layers_is_one_message():
    made = Variants(AblationStudy(start="jurassic1_small", end="gpt3_small", choices=("windows",)))
    with pytest.raises(ConfigError, match="num_layers=3 must be a multiple of the 2 entries"):
        made.run(frozenset({"windows"}))


def test_taking_a_choice_twice_changes_nothing_more():
    made = nano("gpt2", "palm")
    for choice in made.choices:
        once = taken(made.start, made.end, choice)
        assert taken(once, made.end, choice) == once
    assert with_choices("norm").choices == ("norm",)
