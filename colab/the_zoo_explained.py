# ---
# jupyter:
#   accelerator: TPU
#   colab:
#     gpuType: V5E1
#     provenance: []
#     toc_visible: true
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The zoo, explained
#
# Nine families of language models are one transformer with different choices. This notebook shows
# the choices: as cards, side by side, as drawings, in what attention heads look at, and in what
# one of them, the position of a token, changes in training.
#
# **Needs:** any runtime; nothing is downloaded. **Takes:** one to two minutes to install, then
# about five on two CPU cores, mostly for three short trainings, and less on a TPU or GPU.

# %% cellView="form" tags=["parameters"]
# @title Settings { display-mode: "form" }
DEVICE = "any"  # @param ["tpu", "gpu", "cpu", "any"]
MODEL = "palm_small"  # @param {type:"string"}
NUM_STEPS = 200  # @param {type:"integer"}
SENTENCE = "for name in names: print(name)"  # @param {type:"string"}
RUNS = "runs"  # @param {type:"string"}
REPO_URL = ""  # @param {type:"string"}

# %% [markdown]
# ## Install
#
# A Colab runtime has a JAX that is too old for the zoo. This cell installs the pinned versions of
# `colab/constraints.txt` over it, in one step, and asserts that JAX finds the device: one to two
# minutes, and nothing the second time. It changes the runtime itself, not an environment beside
# it, because a TPU serves one process and this notebook is to be that process. NumPy stays as it
# is, and on a GPU the CUDA libraries do, too: JAX shares those of PyTorch. `torch_xla` and other
# packages of the runtime that need the older JAX no longer work in this session.

# %%
import sys
from pathlib import Path

places = [at for at in (Path.cwd(), *Path.cwd().parents) if (at / "colab/install.py").exists()]
CHECKOUT = places[0] if places else Path("gpt-zoo").resolve()
# !test -e "{CHECKOUT}" || git clone --quiet --depth=1 "{REPO_URL}" "{CHECKOUT}"
# %cd -q {CHECKOUT}
sys.path.insert(0, str(CHECKOUT))

from colab.install import install

install(DEVICE)

import jax

print(f"JAX {jax.__version__}:", *jax.devices())
assert DEVICE in ("any", jax.default_backend()), "choose Runtime > Change runtime type"

# %% [markdown]
# ## A model
#
# A card has the exact counts and the choices of a model, and a drawing of one of its layers.
# `python -m zoo.describe --model=palm_540b` adds where in the paper each value is.

# %%
from zoo.explaining.model_card import model_card

model_card("palm_540b")

# %% [markdown]
# ## Two models
#
# What did five years change? The choices that differ between GPT-2 and LLaMA, with their
# equations, and the numbers that follow from them.

# %%
# !python -m zoo.diff gpt2_1558m llama_7b

# %% [markdown]
# ## Three layouts
#
# A layer adds the outputs of attention and feed-forward to the residual stream. GPT-1 normalises
# the stream after each sum, GPT-2 and most others normalise what a branch reads, and PaLM computes
# both branches from the same input.

# %%
from IPython.display import SVG, display

import configs
from zoo.explaining.block_drawing import block_picture

for name in ("gpt1_117m", "gpt2_124m", "palm_8b"):
    print(name)
    display(SVG(block_picture(configs.get(name).model)))

# %% [markdown]
# ## Three ways to tell positions apart
#
# The same model three times, equal but for the position: a learned vector per position (GPT),
# rotated queries and keys (PaLM, LLaMA), and scores that depend on the distance (Gopher). A short
# training of each, on the source of Python's standard library.

# %%
import dataclasses

from models.config import Learned, Relative, Rotary
from zoo.train import train

base = dataclasses.replace(configs.get(MODEL), num_steps=NUM_STEPS)
runs = {}
for position in (Learned(), Rotary(), Relative()):
    name = type(position).__name__.lower()
    model = dataclasses.replace(base.model, position=position)
    runs[name] = train(dataclasses.replace(base, model=model), f"{RUNS}/positions/{name}")

# %%
from IPython.display import Image

WORKDIRS = " ".join(str(run.workdir) for run in runs.values())
# !python -m zoo.compare {WORKDIRS} --out={RUNS}/positions.png
Image(f"{RUNS}/positions.png", width=900)

# %% [markdown]
# ## What the heads look at
#
# A square for each head of each layer: row t is the token that reads, column s the token that is
# read. Some heads keep to the token before (a line below the diagonal), some read everything
# alike, some always the first token.

# %%
import zoo
from zoo.explaining.attention_weights import attention_weights

weights = {name: attention_weights(zoo.load(run.workdir), SENTENCE) for name, run in runs.items()}
weights["rotary"]

# %% [markdown]
# One head with its tokens:

# %%
weights["rotary"].head(0, 0)

# %% [markdown]
# How many tokens back do the heads look, on average? A row per layer, a column per head.

# %%
for name, found in weights.items():
    print(name, found.mean_distance().round(1), sep="\n")
