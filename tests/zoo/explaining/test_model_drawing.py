"""The drawings of the three layouts."""

import pytest

import configs
from zoo.explaining.model_drawing import draw


def test_parallel_layers_branch_twice_from_one_norm():
    assert (
        draw(configs.get("palm_8b").model)
        == """\
tokens
embedding
|
|---.
|   LayerNorm without bias
|   |------------------------------------------.
|   multi-query attention (rotary positions)   SwiGLU feed-forward
+ <-'                                          |
+ <--------------------------------------------'
|   ... and so on, num_layers times
LayerNorm without bias
logits = h E^T
p = softmax(logits / sqrt(D))"""
    )


def test_post_norm_has_its_norms_on_the_stream_and_none_at_the_end():
    assert (
        draw(configs.get("gpt1_117m").model)
        == """\
tokens
embedding + learned positions
|
|---.
|   multi-head attention
+ <-'
LayerNorm
|---.
|   GELU feed-forward
+ <-'
LayerNorm
|   ... and so on, num_layers times
logits = h E^T
p = softmax(logits)"""
    )


def test_pre_norm_has_its_norms_on_the_branches():
    assert (
        draw(configs.get("llama_7b").model)
        == """\
tokens
embedding
|
|---.
|   RMSNorm
|   multi-head attention (rotary positions)
+ <-'
|---.
|   RMSNorm
|   SwiGLU feed-forward
+ <-'
|   ... and so on, num_layers times
RMSNorm
logits = h U^T
p = softmax(logits)"""
    )


@pytest.mark.parametrize("family", configs.FAMILIES)
def test_all_sizes_of_a_family_are_one_drawing(family):
    drawings = {draw(experiment.model) for experiment in configs.FAMILIES[family].FAMILY.values()}
    assert len(drawings) == 1
