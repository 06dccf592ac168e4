"""Chinchilla's sizes and recipe (arXiv 2203.15556, Tables 4 and A9)."""

import pytest

from configs import chinchilla, gopher
from configs.parts.optimizers import AdamW
from models.model import num_params

TABLE_A9 = [
    ("44m", 43_720_448),
    ("57m", 57_334_208),
    ("74m", 73_824_640),
    ("90m", 89_818_240),
    ("106m", 105_811_840),
    ("117m", 116_713_472),
    ("140m", 139_739_648),
    ("163m", 162_765_824),
    ("175m", 174_942_848),
    ("196m", 195_833_984),
    ("217m", 216_725_120),
    ("251m", 251_068_672),
    ("278m", 278_352_128),
    ("306m", 305_635_584),
    ("425m", 424_609_280),
    ("489m", 488_545_280),
    ("509m", 509_239_424),
    ("552m", 552_481_280),
    ("587m", 586_597_760),
    ("632m", 632_223_488),
    ("664m", 663_956_096),
    ("724m", 724_282_112),
    ("816m", 816_340_736),
    ("893m", 892_664_832),
    ("1018m", 1_017_957_888),
    ("1143m", 1_143_250_944),
    ("1266m", 1_265_591_552),
    ("1424m", 1_424_348_032),
    ("1429m", 1_429_230_848),
    ("1593m", 1_592_870_144),
    ("1609m", 1_609_077_376),
    ("1731m", 1_730_541_056),
    ("1794m", 1_793_806_720),
    ("2007m", 2_006_670_848),
    ("2283m", 2_282_800_640),
    ("2298m", 2_297_736_960),
    ("2639m", 2_638_626_560),
    ("2980m", 2_979_516_160),
    ("3530m", 3_530_420_096),
    ("3802m", 3_802_333_184),
    ("4084m", 4_083_683_456),
    ("4516m", 4_516_047_104),
    ("6796m", 6_795_586_304),
    ("9293m", 9_293_188_352),
    ("11452m", 11_451_786_752),
    ("12295m", 12_295_175_936),
    ("12569m", 12_568_944_384),
    ("13735m", 13_735_385_088),
    ("14940m", 14_940_376_192),
    ("16183m", 16_183_281_920),
]


@pytest.mark.parametrize(("size", "count"), [("70b", 70_061_956_352), *TABLE_A9])
def test_exact_parameter_counts(size: str, count: int):
    assert num_params(chinchilla.FAMILY[f"chinchilla_{size}"].model) == count


def test_all_rows_of_table_a9_are_there():
    assert len(TABLE_A9) == 50
    assert len(chinchilla.PUBLISHED) == 51


def test_six_rows_of_table_a9_have_heads_that_do_not_add_up_to_d_model():
    uneven = {
        name.removeprefix("chinchilla_")
        for name, experiment in chinchilla.PUBLISHED.items()
        for model in [experiment.model]
        if model.attention.num_heads * model.attention.head_dim != model.d_model
    }
    assert uneven == {"3530m", "4084m", "11452m", "12569m", "13735m", "14940m"}


def test_table_4_beside_gophers():
    ours, gophers = chinchilla.FAMILY["chinchilla_70b"], gopher.FAMILY["gopher_280b"]
    assert ours.batch_tokens == pytest.approx(3e6, rel=0.05)
    assert ours.num_tokens == pytest.approx(1.4e12, rel=1e-5)
    assert ours.optimizer.schedule.peak_lr == 1e-4
    assert isinstance(ours.optimizer, AdamW)
    assert isinstance(gophers.optimizer, AdamW)
    assert ours.optimizer.weight_decay > 0 == gophers.optimizer.weight_decay
    assert ours.model.d_model * 2 == gophers.model.d_model
    assert ours.model.num_layers == gophers.model.num_layers


def test_the_scaling_runs_have_20_tokens_a_parameter_and_the_rates_of_section_d_1():
    for size, count in TABLE_A9:
        run = chinchilla.FAMILY[f"chinchilla_{size}"]
        assert run.num_tokens == pytest.approx(20 * count, rel=0.01)
        assert run.optimizer.clip_norm == (1.0 if count < 7e9 else 0.25)
    rates = [
        chinchilla.FAMILY[f"chinchilla_{size}"].optimizer.schedule.peak_lr for size, _ in TABLE_A9
    ]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == pytest.approx((2e-4, 1.25e-4))
