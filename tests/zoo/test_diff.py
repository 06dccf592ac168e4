"""`python -m zoo.diff`: two models side by side."""

import json

import pytest

from zoo import diff
from zoo.explaining.model_card import model_card


def test_palm_and_llama_differ_in_six_choices(run_here):
    outcome = json.loads(run_here(diff.main, "palm_8b", "llama_7b", "--json").stdout)
    assert outcome["models"] == ["palm_8b", "llama_7b"]
    names = {axis: [side["choice"] for side in pair] for axis, pair in outcome["choices"].items()}
    assert names == {
        "layout": ["parallel layers", "pre-norm layers"],
        "norm": ["LayerNorm without bias", "RMSNorm"],
        "attention": ["multi-query attention", "multi-head attention"],
        "tie_embeddings": ["tied input and output embeddings", "a separate output matrix"],
        "logit_scale": ["logits / sqrt(d_model)", "unscaled logits"],
        "init": ["by fan-in (embeddings of std 1)", "normal, scaled by depth (std 0.02)"],
    }
    for pair in outcome["choices"].values():
        assert all(side["effect"] and side["equation"] and side["source"] for side in pair)


def test_the_numbers_follow(run_here):
    outcome = json.loads(run_here(diff.main, "palm_8b", "llama_7b", "--json").stdout)
    numbers = outcome["numbers"]
    assert list(numbers) == list(diff.LABELS)
    assert outcome["decode_length"] == 2048
    assert numbers["num_params"] == [8_632_012_800, 6_738_415_616]
    assert numbers["kv_cache_bytes_per_token"] == [32 * 2 * 256 * 2, 32 * 2 * 4096 * 2]
    one, many = numbers["flops_per_byte_at_batch_1"], numbers["flops_per_byte_at_batch_64"]
    assert one == pytest.approx([1.06, 1.0], abs=0.005)
    assert many[0] > 4 * many[1]  # PaLM's rows hardly read any cache


def test_two_contexts_are_compared_at_the_shorter():
    gpt1, gpt3 = model_card("gpt1_117m"), model_card("gpt3_125m")
    assert diff.shared_length(gpt1, gpt3) == 512
    cache = diff.to_json(gpt1, gpt3)["numbers"]["kv_cache_bytes_per_token"]
    assert cache == [12 * 2 * 768 * 2, 6 * 2 * 768 * 2 * (1 + 256 / 512)]


def test_side_by_side_for_a_reader(run_here):
    outcome = run_here(diff.main, "palm_8b", "llama_7b")
    assert outcome.code == 0
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    heads = lines.index("Attention heads")
    assert lines[heads + 1].startswith("  palm_8b   multi-query attention, 16 query heads of 256")
    assert any(line.startswith("  llama_7b  multi-head attention, 32") for line in lines[heads:])
    same = next(line for line in lines if line.startswith("  the same"))
    assert "rotary positions (base 10,000); dense in every layer; SwiGLU" in same
    parameters = next(line for line in lines if line.startswith("  parameters"))
    assert parameters.split() == ["parameters", "8,632,012,800", "6,738,415,616", "0.781"]


def test_one_kind_of_choice_is_explained_once(run_here):
    said = run_here(diff.main, "gpt2_124m", "gopher_117m").stdout
    biases = said.split("\nBiases\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in biases] == ["gpt2_124m", "gopher_117m", "A", "y"]


def test_a_model_and_itself_have_nothing_to_explain(run_here):
    outcome = run_here(diff.main, "llama_7b", "llama_7b")
    assert outcome.code == 0
    assert "Attention heads" not in outcome.stdout


@pytest.mark.parametrize("pair", [("palm_8", "llama_7b"), ("llama_7b", "palm_8")])
def test_an_unknown_name_gets_the_nearest(pair, run_here):
    outcome = run_here(diff.main, *pair)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "model 'palm_8' is not in the zoo; did you mean palm_8b" in outcome.stderr
