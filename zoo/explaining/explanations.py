"""The effect, the equation and the source of every kind of choice.

`zoo.describe`, `zoo.diff`, docs/families.md and the first lines of a run all print from here.
Letters that models/axes.py defines have the same meaning here.
"""

from dataclasses import dataclass

LETTERS = (
    "x is the input of a layer, h the output of the last one; A is attention, F the feed-forward, "
    "N(.) a norm; E is the embedding, U the output matrix; t, s, i and j are positions; D is "
    "d_model, N the number of query heads, K the number of key and value heads, H the width of a "
    "head, V the size of the vocabulary, L the number of layers."
)
"""The letters of the equations."""

AXES = {
    "model.stack": "Stacks",
    "model.position": "Positions",
    "model.layout": "Layout of a layer",
    "model.norm": "Norm",
    "model.attention": "Attention heads",
    "model.attention.windows": "Attention span",
    "model.feed_forward": "Feed-forward",
    "model.biases": "Biases",
    "model.tie_embeddings": "Output matrix",
    "model.logit_scale": "Logits",
    "model.dropout_rate": "Dropout",
    "model.init": "Initialisation",
}
"""Config fields that are choices, each with its heading; roughly in the order of computation."""


@dataclass(frozen=True)
class Explanation:
    """One kind of choice, explained to a reader who knows the Transformer."""

    axis: str
    """Config field that makes the choice, a key of AXES."""
    effect: str
    """Effect of the choice, in one sentence."""
    equation: str
    source: str
    """The paper that defines it."""

    def __str__(self) -> str:
        return f"{self.effect}\n{self.equation}   [{self.source}]"


EXPLANATIONS = {
    "a decoder": Explanation(
        "model.stack",
        "One stack, in which a token sees those before it: it predicts every next token, and "
        "writes text one token at a time.",
        "p(x) = product over t of p(x_t given x_1 ... x_(t-1))",
        "Radford et al. 2018, section 3.1",
    ),
    "an encoder": Explanation(
        "model.stack",
        "One stack, in which a token sees those on both sides: it predicts tokens that are hidden, "
        "and has no probability for a text.",
        "p(x_t given all other tokens), for each hidden t",
        "Devlin et al. 2018, section 3.1",
    ),
    "an encoder and a decoder": Explanation(
        "model.stack",
        "A decoder writes one text while each of its tokens also sees all of another, which an "
        "encoder has read from both sides.",
        "p(y given x) = product over t of p(y_t given x and y_1 ... y_(t-1))",
        "Vaswani et al. 2017, section 3.1",
    ),
    "learned positions": Explanation(
        "model.position",
        "A trained vector per position is added to the token's embedding; the model cannot read "
        "beyond context_length.",
        "x_t = E[token_t] + P[t]",
        "Gehring et al. 2017, section 3.1",
    ),
    "rotary positions": Explanation(
        "model.position",
        "Pairs of coordinates of queries and keys are rotated by angles proportional to the "
        "position t, so that their product depends on position through the distance alone; nothing "
        "is trained.",
        "(R_t q) . (R_s k) = q . R_(s-t) k; R_t rotates pair i of H/2 by t base^(-2i/H)",
        "Su et al. 2021, equation 34",
    ),
    "relative positions": Explanation(
        "model.position",
        "Every score has a term for the distance between query and key, whose sinusoids r go "
        "through a projection W_R per layer; the trained vectors u and v replace the query's own "
        "position.",
        "score(i, j) = ((q_i + u) . k_j + (q_i + v) . W_R r_(i-j)) / sqrt(H)",
        "Dai et al. 2019, section 3.3",
    ),
    "sinusoidal positions": Explanation(
        "model.position",
        "Sines and cosines of the position, of D/2 wavelengths from 2 pi to 20,000 pi, are added "
        "to the token's embedding; nothing is trained.",
        "x_t = E[token_t] + [sin(t / 10000^(2i/D)), cos(t / 10000^(2i/D))], i < D/2",
        "Vaswani et al. 2017, section 3.5",
    ),
    "buckets of distances": Explanation(
        "model.position",
        "Every score gets a trained number for the head and the bucket of the distance; buckets "
        "widen as logarithms, and all layers of a stack share one table.",
        "score(i, j) = q_i . k_j / sqrt(H) + b[bucket(i - j)]",
        "Raffel et al. 2020, section 2.1",
    ),
    "post-norm layers": Explanation(
        "model.layout",
        "Every sum is normalised, so that the residual stream itself passes through the norms; no "
        "norm follows the last layer.",
        "N(n + F(n)), n = N(x + A(x))",
        "Vaswani et al. 2017, section 3.1",
    ),
    "pre-norm layers": Explanation(
        "model.layout",
        "Only the input of each sub-block is normalised, so that the residual stream runs from the "
        "embedding to the last layer through additions alone; one more norm follows the last "
        "layer.",
        "n + F(N(n)), n = x + A(N(x))",
        "Radford et al. 2019, section 2.3",
    ),
    "parallel layers": Explanation(
        "model.layout",
        "Attention and feed-forward read the same normalised input side by side, so that their "
        "first matrix products can be computed as one.",
        "x + A(N(x)) + F(N(x))",
        "Wang and Komatsuzaki 2021 (GPT-J)",
    ),
    "LayerNorm": Explanation(
        "model.norm",
        "Every vector is shifted to mean 0 and scaled to variance 1, then given a trained scale g "
        "and bias b.",
        "N(x) = (x - mean(x)) / sqrt(var(x) + eps) * g + b",
        "Ba et al. 2016",
    ),
    "LayerNorm without bias": Explanation(
        "model.norm",
        "Every vector is shifted to mean 0 and scaled to variance 1, then given a trained scale g.",
        "N(x) = (x - mean(x)) / sqrt(var(x) + eps) * g",
        "Ba et al. 2016, less its bias",
    ),
    "RMSNorm": Explanation(
        "model.norm",
        "Every vector is divided by its root mean square, without a shift to mean 0, then given a "
        "trained scale g.",
        "N(x) = x / sqrt(mean(x^2) + eps) * g",
        "Zhang and Sennrich 2019",
    ),
    "multi-head attention": Explanation(
        "model.attention",
        "Every query head has its own key head and its own value head.",
        "A(x) = [head_1 ... head_N] W_O, head_n = softmax(Q_n K_n^T / sqrt(H)) V_n",
        "Vaswani et al. 2017, section 3.2",
    ),
    "grouped-query attention": Explanation(
        "model.attention",
        "Each group of N/K query heads shares one key head and one value head, so that the KV "
        "cache has K/N of the size that multi-head attention needs.",
        "head_n = softmax(Q_n K_g^T / sqrt(H)) V_g, g = ceil(n K / N)",
        "Ainslie et al. 2023",
    ),
    "multi-query attention": Explanation(
        "model.attention",
        "All N query heads share one key head and one value head, so that the KV cache has 1/N of "
        "the size that multi-head attention needs; every head still computes its own queries from "
        "the input.",
        "head_n = softmax(Q_n K^T / sqrt(H)) V",
        "Shazeer 2019",
    ),
    "dense in every layer": Explanation(
        "model.attention.windows",
        "Every token sees all tokens up to itself; the cost is quadratic in the length.",
        "token t sees 0 <= s <= t",
        "Vaswani et al. 2017, section 3.2.3",
    ),
    "locally banded layers": Explanation(
        "model.attention.windows",
        "A token sees only a band of the last w tokens, itself included; the cost is linear in the "
        "length as long as the band stays fixed.",
        "token t sees t - w < s <= t",
        "Child et al. 2019",
    ),
    "alternating dense and locally banded layers": Explanation(
        "model.attention.windows",
        "Layers that see a band of the last w tokens, whose cost is linear in the length as long "
        "as the band stays fixed, alternate with dense ones, whose cost stays quadratic.",
        "token t sees 0 <= s <= t in a dense layer, t - w < s <= t in a banded one",
        "Child et al. 2019; Brown et al. 2020, section 2.1",
    ),
    "GELU": Explanation(
        "model.feed_forward",
        "Two matrices with a smooth gate between them: each value is multiplied by the probability "
        "that a standard normal value is smaller, approximated with tanh.",
        "F(x) = GELU(x W_1) W_2, GELU(z) = z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))",
        "Hendrycks and Gimpel 2016",
    ),
    "exact GELU": Explanation(
        "model.feed_forward",
        "Two matrices with a smooth gate between them: each value is multiplied by the probability "
        "that a standard normal value is smaller.",
        "F(x) = GELU(x W_1) W_2, GELU(z) = z/2 (1 + erf(z / sqrt(2)))",
        "Hendrycks and Gimpel 2016",
    ),
    "ReLU": Explanation(
        "model.feed_forward",
        "Two matrices, with negative values set to zero between them.",
        "F(x) = max(0, x W_1) W_2",
        "Vaswani et al. 2017, equation 2",
    ),
    "GEGLU": Explanation(
        "model.feed_forward",
        "A third matrix computes a gate for every inner value; the gate goes through GELU.",
        "F(x) = (GELU(x W) * x V) W_2",
        "Shazeer 2020, equation 6",
    ),
    "SwiGLU": Explanation(
        "model.feed_forward",
        "A third matrix computes a gate for every inner value; the gate goes through Swish, not "
        "through the plain sigmoid of the first gated linear units.",
        "F(x) = (Swish(x W) * x V) W_2, Swish(z) = z / (1 + exp(-z))",
        "Shazeer 2020, equation 6",
    ),
    "biases": Explanation(
        "model.biases",
        "A trained vector is added at the named points; qkv means queries, keys and values.",
        "y = x W + b",
        "Vaswani et al. 2017, equation 2",
    ),
    "no biases": Explanation(
        "model.biases",
        "No trained vector is added after a matrix product or a norm.",
        "y = x W",
        "Chowdhery et al. 2022, section 2",
    ),
    "tied input and output embeddings": Explanation(
        "model.tie_embeddings",
        "The table that embeds the tokens also computes their scores, which saves V D parameters.",
        "logits = h E^T",
        "Press and Wolf 2017",
    ),
    "a separate output matrix": Explanation(
        "model.tie_embeddings",
        "The tokens' scores come from another matrix than their embedding, with V D more "
        "parameters.",
        "logits = h U^T",
        "Bengio et al. 2003",
    ),
    "unscaled logits": Explanation(
        "model.logit_scale",
        "The scores go into the softmax unscaled.",
        "p = softmax(logits)",
        "Vaswani et al. 2017, section 3.4",
    ),
    "logits / sqrt(d_model)": Explanation(
        "model.logit_scale",
        "The scores are scaled down; with tied embeddings drawn from N(0, 1), their variance is "
        "about 1 at the start of training, except for the score of the input token itself, about "
        "sqrt(D) / 2 since h still holds its embedding, which puts the first loss above ln V (with "
        "D = 256 and V = 4096: 9.7 on text, not 8.3).",
        "p = softmax(logits / sqrt(D))",
        "Chowdhery et al. 2022, section 5",
    ),
    "dropout": Explanation(
        "model.dropout_rate",
        "In training, a random fraction p of the values is set to zero: in the embedding, in the "
        "attention weights and in the output of each sub-block.",
        "y = m x / (1 - p), m = 0 with probability p, else 1",
        "Srivastava et al. 2014",
    ),
    "dropout on embedding tables": Explanation(
        "model.dropout_rate",
        "In training, a random fraction p of the values is set to zero: in the attention weights, "
        "in the output of each sub-block, and in the embedding tables themselves, so that all "
        "tokens of a batch, and a tied output matrix, lose the same entries.",
        "y = m x / (1 - p), m = 0 with probability p, else 1; x_t = (m E)[token_t] / (1 - p)",
        "Srivastava et al. 2014; Radford et al. 2018, released code",
    ),
    "no dropout": Explanation(
        "model.dropout_rate",
        "Training computes the same function as sampling.",
        "y = x",
        "Chowdhery et al. 2022, section 5",
    ),
    "normal": Explanation(
        "model.init",
        "All matrices are drawn from the same distribution.",
        "W ~ N(0, std^2)",
        "Radford et al. 2018, section 4.1",
    ),
    "normal, scaled by depth": Explanation(
        "model.init",
        "All matrices are drawn from the same distribution, except the two of each layer that "
        "write to the residual stream: the deeper the model, the smaller they are, so that the "
        "stream does not grow with depth.",
        "W ~ N(0, std^2), those two ~ N(0, std^2 / (2 L))",
        "Radford et al. 2019, section 2.3",
    ),
    "truncated normal": Explanation(
        "model.init",
        "All matrices are drawn from the same distribution, again if a value lies beyond two "
        "standard deviations.",
        "W ~ N(0, std^2) from -2 std to 2 std",
        "Devlin et al. 2018, released code",
    ),
    "by fan-in": Explanation(
        "model.init",
        "The more inputs a matrix sums over, the smaller its values, so that outputs are as large "
        "as inputs.",
        "W ~ N(0, 1 / fan_in), E ~ N(0, embedding_std^2)",
        "Chowdhery et al. 2022, section 5",
    ),
}
