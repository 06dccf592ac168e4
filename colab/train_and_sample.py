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
# # Train a PaLM and sample from it
#
# A language model in the style of PaLM ([Chowdhery et al.
# 2022](https://arxiv.org/abs/2204.02311)), small enough to train in minutes. It learns to write
# Python from the source of Python's own standard library, which is on this machine already.
#
# **Needs:** a TPU v5e-1 or v6e-1 runtime (*Runtime > Change runtime type*), or a GPU, or patience:
# set `DEVICE`. **Takes:** one to two minutes to install, then four to five minutes on two CPU
# cores, and less on a TPU or GPU. Choose *Runtime > Run all*.

# %% cellView="form" tags=["parameters"]
# @title Settings { display-mode: "form" }
DEVICE = "tpu"  # @param ["tpu", "gpu", "cpu", "any"]
MODEL = "palm_small"  # @param {type:"string"}
TEXT = ""  # @param {type:"string"}
NUM_STEPS = 0  # @param {type:"integer"}
PROMPT = "def "  # @param {type:"string"}
USE_DRIVE = False  # @param {type:"boolean"}
RUNS = "runs"  # @param {type:"string"}
REPO_URL = ""  # @param {type:"string"}

# %% [markdown]
# `TEXT` is a glob of your own files, such as `notes/**/*.txt`; without one, the model reads the
# standard library. `NUM_STEPS` of 0 leaves the number of steps to the model's config.

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
# ## Where the runs are
#
# With `USE_DRIVE` they are on your Google Drive. After a reset of the runtime, run all cells
# again: what is finished is read from Drive, and what was under way resumes from its newest
# checkpoint.

# %%
from colab.drive import folder_on_drive

if USE_DRIVE:
    RUNS = folder_on_drive()

# %% [markdown]
# ## Train
#
# `train` is the function behind `python -m zoo.train`. Its log says what is trained, on what and
# at which cost; then come the loss every ten seconds and, now and then, the bits per byte on
# held-out text beside those of `xz -9` and of a byte 5-gram. To stop, interrupt the cell: the
# state is saved, and the cell goes on from there when it runs again.

# %%
import dataclasses

import configs
from data.config import Files
from zoo.train import train

experiment = configs.get(MODEL)
if TEXT:
    data = dataclasses.replace(experiment.data, source=Files(TEXT))
    experiment = dataclasses.replace(experiment, data=data)
if NUM_STEPS:
    experiment = dataclasses.replace(experiment, num_steps=NUM_STEPS)
result = train(experiment, f"{RUNS}/{MODEL}")

# %% [markdown]
# ## The outcome
#
# The workdir also has `report.html`, a page with every curve and the source of every number.

# %%
from IPython.display import display

display(result)

# %% [markdown]
# ## Sample
#
# `zoo.load` reads the newest checkpoint, with the vocabulary it was trained with. A lower
# temperature plays safer.

# %%
import zoo

model = zoo.load(result.workdir)
sampling = zoo.Sampling(temperature=0.8, top_k=40, top_p=0.95)
for text in model.sample([PROMPT] * 3, max_tokens=150, sampling=sampling):
    print(PROMPT + text, "-" * 80, sep="\n")

# %% [markdown]
# `score` tells how likely the model finds a text. Code is less of a surprise to it than prose.

# %%
for text in ("import os\n", "for i in range(10):\n", "The cat sat on the mat.\n"):
    print(f"{model.score([text])[0].bits_per_byte:.2f} bits per byte: {text.strip()}")

# %% [markdown]
# ## Go on
#
# Run *Train* again with a larger `NUM_STEPS`: it resumes from the newest checkpoint. `train(...,
# fresh=True)` starts over.
