"""Every convention, to the printed digits of the table that it comes from."""

import itertools
import math

import pytest

import configs
from models import config as c
from models.flops import (
    decoding_intensity,
    forward_flops_per_token,
    kv_cache_bytes_per_token,
    train_flops_palm,
)
from models.model import num_params
from tests.reference.flops import (
    train_flops_6n,
    train_flops_chinchilla,
    train_flops_chinchilla_layers,
)
from zoo.planning.hardware import mfu

LEARNED = c.Learned()
PETAFLOP_S_DAY = 1e15 * 24 * 3600


def shape(
    num_layers: int,
    d_model: int,
    num_heads: int,
    head_dim: int,
    *,
    vocab_size: int = 32_000,
    num_kv_heads: int | None = None,
    windows: tuple[int | None, ...] = (None,),
    position: c.Learned | c.Rotary | c.Relative = LEARNED,
) -> c.ModelConfig:
    """Return a GELU model with d_ff = 4 d_model; arguments in the order of the papers' tables."""
    return c.ModelConfig(
        vocab_size=vocab_size,
        context_length=2048,
        num_layers=num_layers,
        d_model=d_model,
        attention=c.Attention(
            num_heads=num_heads,
            num_kv_heads=num_kv_heads or num_heads,
            head_dim=head_dim,
            windows=windows,
        ),
        feed_forward=c.FeedForward(d_ff=4 * d_model, kind="gelu"),
        norm=c.LayerNorm(),
        position=position,
        layout="pre_norm",
        biases=(),
        tie_embeddings=True,
        init=c.Normal(std=0.02),
    )


def digits(value: float, number: int) -> str:
    return f"{value:.{number - 1}e}"


# --- 6N: GPT-3, Table D.1 ----------------------------------------------------------------------

TABLE_D1 = [  # exact and printed number of parameters; training FLOPs at 300 billion tokens
    (125_226_240, 125e6, 2.25e20),
    (355_871_744, 356e6, 6.41e20),
    (760_300_032, 760e6, 1.37e21),
    (1_315_723_264, 1_320e6, 2.38e21),
    (2_651_553_280, 2_650e6, 4.77e21),
    (6_658_404_352, 6_660e6, 1.20e22),
    (12_853_386_240, 12_850e6, 2.31e22),
    (174_604_259_328, 174_600e6, 3.14e23),
]


@pytest.mark.parametrize(("exact", "printed", "flops"), TABLE_D1)
def test_6n_gives_gpt3s_table_from_its_printed_counts(exact, printed, flops):
    assert digits(300e9 * train_flops_6n(printed), 3) == digits(flops, 3)
    # From the exact count the 1.3B row would print 2.37e21: the paper multiplied its rounded N.
    from_exact = digits(300e9 * train_flops_6n(exact), 3)
    assert from_exact == ("2.37e+21" if exact == 1_315_723_264 else digits(flops, 3))


# --- PaLM: Table 22 and the utilisations of section 4.1 ------------------------------------------


@pytest.mark.parametrize(
    ("name", "printed", "teraflops", "tokens", "run_flops", "days"),
    [
        ("palm_8b", 8.63e9, "5.50e-02", 780e9, "4.29e+22", "4.97e+02"),
        ("palm_62b", 62.50e9, "3.88e-01", 795e9, "3.08e+23", "3.57e+03"),
        ("palm_540b", 540.35e9, "3.28e+00", 780e9, "2.56e+24", "2.96e+04"),
    ],
)
def test_palms_formula_gives_its_table_22(name, printed, teraflops, tokens, run_flops, days):
    model = configs.get(name).model
    for count in (printed, num_params(model)):  # ours counts the norm scales too
        flops = train_flops_palm(model, count, 2048)
        assert digits(flops / 1e12, 3) == teraflops
        assert digits(flops * tokens, 3) == run_flops
        assert digits(flops * tokens / PETAFLOP_S_DAY, 3) == days


def percent(flops_per_s: float, kind: str, num_devices: int) -> float:
    utilisation = mfu(flops_per_s, kind, num_devices, "bfloat16")
    assert utilisation is not None
    return 100 * utilisation


def test_palm_540b_has_the_papers_utilisation():
    model, n, tokens_per_s = configs.get("palm_540b").model, 540e9, 238.3e3
    with_attention = tokens_per_s * train_flops_palm(model, n, 2048)
    assert percent(with_attention, "TPU v4", 6144) == pytest.approx(46.2, abs=0.05)
    without = tokens_per_s * train_flops_6n(n)
    assert percent(without, "TPU v4", 6144) == pytest.approx(45.7, abs=0.05)


def test_mt_nlg_530b_has_palms_utilisation():
    """30.26 and 29.77 %, which PaLM's paper truncates."""
    model = shape(105, 20_480, 128, 160, vocab_size=51_200)
    tokens_per_s = 1920 * 2048 / 60.1
    with_attention = tokens_per_s * train_flops_palm(model, 530e9, 2048)
    without = tokens_per_s * train_flops_6n(530e9)
    a100 = "NVIDIA A100-SXM4-80GB"
    percents = [percent(flops_per_s, a100, 2240) for flops_per_s in (with_attention, without)]
    assert [math.floor(10 * value) / 10 for value in percents] == [30.2, 29.7]


def test_gopher_280b_has_palms_utilisation_if_its_6m_tokens_are_3072_sequences():
    model = shape(80, 16_384, 128, 128, position=c.Relative())
    flops = train_flops_palm(model, 280e9, 2048)
    devices = 2 * 4096  # a TPU v3 chip is two devices in JAX
    assert percent(0.0152 * 3072 * 2048 * flops, "TPU v3", devices) == pytest.approx(32.5, abs=0.05)
    assert percent(0.0152 * 6.0e6 * flops, "TPU v3", devices) == pytest.approx(31.0, abs=0.05)


def test_gpt3s_utilisation_is_not_reproduced():
    """PaLM's Table 3 says 21.3 %, and neither peak of a V100 gives it, with or without attention.

    It uses 24.6 TFLOP/s per V100 (Patterson et al. 2021) and a peak that it does not state.
    """
    model = shape(96, 12_288, 96, 128, vocab_size=50_257)
    attention = train_flops_palm(model, 174.6e9, 2048) / train_flops_6n(174.6e9)
    of_125, of_112 = (100 * 24.6 / peak for peak in (125, 112))
    percents = [of_125, of_125 * attention, of_112, of_112 * attention]
    assert percents == pytest.approx([19.7, 20.2, 22.0, 22.6], abs=0.05)
    assert all(abs(value - 21.3) > 0.5 for value in percents)


# --- Chinchilla: Appendix F and Table A4 ---------------------------------------------------------

TABLE_A4 = [  # layers, d_model, heads, key size, ratio to 6N
    (10, 640, 10, 64, "1.03"),
    (20, 1024, 16, 64, "1.10"),
    (24, 1280, 10, 128, "1.08"),
    (26, 1792, 14, 128, "1.04"),
    (28, 2048, 16, 128, "1.03"),
    (40, 3584, 28, 128, "0.99"),
]


def chinchilla_params(num_layers: int, d_model: int, num_heads: int, head_dim: int) -> int:
    """Return the count that gives all 50 sizes of Table A9, with relative positions and biases."""
    width = num_heads * head_dim
    per_layer = 5 * d_model * width + 8 * d_model * d_model + 8 * d_model + 2 * width
    return 32_000 * d_model + 32_000 + d_model + num_layers * per_layer


@pytest.mark.parametrize(("num_layers", "d_model", "num_heads", "head_dim", "ratio"), TABLE_A4)
def test_appendix_f_gives_table_a4_only_without_embedding_and_logits(
    num_layers, d_model, num_heads, head_dim, ratio
):
    sizes = num_layers, d_model, num_heads, head_dim
    model = shape(*sizes, position=c.Relative())
    six_n = train_flops_6n(chinchilla_params(*sizes))
    assert f"{train_flops_chinchilla_layers(model, 2048) / six_n:.2f}" == ratio
    assert f"{train_flops_chinchilla(model, 2048) / six_n:.2f}" != ratio


def test_appendix_f_term_by_term():
    """The equations of the appendix for a sequence of S tokens, as the paper writes them."""
    s, v, d, f, layers, heads, k = 2048, 32_000, 640, 2560, 10, 10, 64
    embedding = logits = 2 * s * v * d
    attention = (
        2 * 3 * s * d * (k * heads)
        + 2 * s * s * (k * heads)
        + 3 * heads * s * s
        + 2 * s * s * (k * heads)
        + 2 * s * (k * heads) * d
    )
    dense = 2 * s * (d * f + d * f)
    forward = embedding + layers * (attention + dense) + logits
    model = shape(layers, d, heads, k, position=c.Relative())
    assert s * train_flops_chinchilla(model, s) == 3 * forward


def test_gophers_training_flops_are_not_reproduced():
    """No convention gives Chinchilla's "Gopher budget" of 5.76e23, or Gopher's own 6.31e23."""
    model, n, tokens = shape(80, 16_384, 128, 128, position=c.Relative()), 280e9, 300e9
    totals = [
        train_flops_6n(n) * tokens,
        train_flops_palm(model, n, 2048) * tokens,
        train_flops_chinchilla(model, 2048) * tokens,
        train_flops_chinchilla_layers(model, 2048) * tokens,
    ]
    printed = ["5.04e+23", "5.14e+23", "4.75e+23", "4.74e+23"]
    assert [digits(flops, 3) for flops in totals] == printed
    assert max(totals) < 0.9 * 5.76e23


# --- bands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "train_flops",
    [
        lambda model, seq_len: train_flops_palm(model, 0, seq_len),
        lambda model, seq_len: (
            train_flops_chinchilla(model, seq_len) - train_flops_chinchilla(shape(4, 24, 3, 8), 0)
        ),
    ],
)
def test_a_banded_layer_costs_its_band(train_flops):
    dense, banded = shape(4, 24, 3, 8), shape(4, 24, 3, 8, windows=(None, 128))
    assert train_flops(banded, 128) == train_flops(dense, 128)
    assert train_flops(banded, 2048) == train_flops(dense, (2048 + 128) // 2)


# --- decoding ------------------------------------------------------------------------------------


def test_decoding_multiplies_with_every_parameter_but_the_norms():
    """PaLM has no biases and one table, so this is 2N; the paper's N leaves the norms out."""
    assert forward_flops_per_token(configs.get("palm_540b").model, 0) == 2 * 540_354_281_472


@pytest.mark.parametrize(
    ("position", "per_key"), [(c.Learned(), 4), (c.Rotary(), 4), (c.Relative(), 6)]
)
def test_every_key_in_sight_costs_a_score_and_a_value(position, per_key):
    model = shape(6, 40, 5, 8, windows=(None, 7), position=position)
    flops = [forward_flops_per_token(model, keys) for keys in range(12)]
    added = [after - before for before, after in itertools.pairwise(flops)]
    assert added == [6 * per_key * 40] * 7 + [3 * per_key * 40] * 4


def test_decoding_and_appendix_f_count_the_same_products():
    """The embedding, a lookup, and the softmax, which is not a product, are subtracted."""
    model, keys = shape(10, 640, 10, 64), 2048
    embedding, softmax = 2 * 32_000 * 640, 10 * 3 * 10 * keys
    forward = train_flops_chinchilla(model, keys) / 3
    assert forward_flops_per_token(model, keys) == forward - embedding - softmax


def test_decoding_reads_the_weights_once_for_a_batch_and_a_cache_for_each_row():
    """The equation of a dense multi-head model, with 2 bytes per value and B rows of S tokens."""
    d, f, v, layers, s = 24, 96, 32_000, 4, 100
    weights, cache = layers * (4 * d * d + 2 * d * f) + v * d, layers * 2 * d * s
    for batch in (1, 64):
        flops = batch * (2 * weights + 4 * d * s * layers)
        intensity = decoding_intensity(shape(layers, d, 3, 8), batch, s)
        assert intensity == pytest.approx(flops / (2 * (weights + batch * cache)))
        in_int8 = decoding_intensity(shape(layers, d, 3, 8), batch, s, bytes_per_weight=1)
        assert in_int8 == pytest.approx(flops / (weights + 2 * batch * cache))


def test_one_row_decodes_at_one_flop_a_byte_unless_its_heads_share_keys():
    assert decoding_intensity(shape(4, 24, 3, 8), 1, 100) == 1
    assert decoding_intensity(shape(4, 24, 3, 8, num_kv_heads=1), 1, 100) > 1
    assert decoding_intensity(shape(4, 24, 3, 8), 1, 100, bytes_per_value=4) == 0.5


def test_relative_positions_read_the_projected_distances_once_for_a_batch():
    relative = shape(4, 24, 3, 8, position=c.Relative())
    assert decoding_intensity(relative, 1, 100) == 1  # 6 N H FLOPs for 3 N H values
    weights, distances = 4 * 12 * 24 * 24 + 32_000 * 24, 4 * 24 * 100
    flops = 64 * (2 * weights + 6 * distances)
    read = 2 * (weights + distances + 64 * 2 * distances)
    assert decoding_intensity(relative, 64, 100) == pytest.approx(flops / read)


# --- cache ---------------------------------------------------------------------------------------


def test_the_cache_holds_keys_and_values_of_the_kv_heads():
    assert kv_cache_bytes_per_token(configs.get("palm_540b").model, 2048) == 118 * 2 * 256 * 2
    multi_head = shape(80, 8192, 64, 128)
    assert kv_cache_bytes_per_token(multi_head, 2048) == 80 * 2 * 8192 * 2
    assert kv_cache_bytes_per_token(multi_head, 1, bytes_per_value=4) == 80 * 2 * 8192 * 4
    grouped = shape(80, 8192, 64, 128, num_kv_heads=8)
    assert kv_cache_bytes_per_token(grouped, 2048) == 80 * 2 * 1024 * 2


def test_a_banded_layer_keeps_its_window():
    banded = shape(4, 24, 3, 8, windows=(None, 128))
    per_layer = 2 * 24 * 2
    assert kv_cache_bytes_per_token(banded, 128) == 4 * per_layer
    assert kv_cache_bytes_per_token(banded, 2048) == 2 * per_layer * (1 + 128 / 2048)


def test_relative_positions_keep_nothing_more():
    relative, learned = shape(4, 24, 3, 8, position=c.Relative()), shape(4, 24, 3, 8)
    assert kv_cache_bytes_per_token(relative, 2048) == kv_cache_bytes_per_token(learned, 2048)


# --- peaks ---------------------------------------------------------------------------------------


def test_utilisation_is_never_guessed():
    assert mfu(1e12, "cpu", 1, "bfloat16") is None
    assert mfu(1e12, "TPU v99", 1, "bfloat16") is None
    assert mfu(1e12, "TPU v4", 1, "float32") is None


def test_utilisation_is_per_device():
    assert mfu(275e12, "TPU v4", 1, "bfloat16") == 1
    assert mfu(275e12, "TPU v4", 4, "bfloat16") == 0.25
