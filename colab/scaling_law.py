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
# # A scaling law in ten minutes
#
# How large should a model be for a given amount of compute? Chinchilla's answer was an experiment:
# train several sizes at each of several budgets, and see which size wins ([Hoffmann et al.
# 2022](https://arxiv.org/abs/2203.15556)). This notebook repeats it with tiny LLaMAs.
#
# **Needs:** a TPU v5e-1 or v6e-1 runtime, a GPU or a CPU: the models are so small that any will
# do. **Takes:** one to two minutes to install and about ten for the study on two CPU cores. It
# says first what it will cost.

# %% cellView="form" tags=["parameters"]
# @title Settings { display-mode: "form" }
DEVICE = "tpu"  # @param ["tpu", "gpu", "cpu", "any"]
FAMILY = "llama"  # @param {type:"string"}
BUDGETS = "1e12,2e12,4e12"  # @param {type:"string"}
NUM_SIZES = 5  # @param {type:"integer"}
TEXT = ""  # @param {type:"string"}
RESAMPLES = 100  # @param {type:"integer"}
USE_DRIVE = False  # @param {type:"boolean"}
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
# ## The experiment
#
# `NUM_SIZES` models for each of the `BUDGETS`, in training FLOPs (6ND: N parameters, D tokens).
# The grid of a budget is centred on the best size of the one before. Interrupt it whenever you
# like: the same cell goes on where it stopped.

# %%
from zoo import scaling

STUDY = f"{RUNS}/scaling"
flags = [f"--family={FAMILY}", f"--budgets={BUDGETS}", f"--num-sizes={NUM_SIZES}"]
if TEXT:
    flags.append(f"--files={TEXT}")
scaling.main(["run", *flags, f"--workdir={STUDY}", f"--resamples={RESAMPLES}"])

# %% [markdown]
# ## The law
#
# Left: the losses of each budget over the size, with a parabola through them; its lowest point is
# the best size. Middle: the best size over the budget; the slope is the exponent *a* in N_opt ~
# C^a. Chinchilla found about 0.5: parameters and tokens should grow alike. Right: how far each run
# lies from the law.

# %%
from IPython.display import Image

scaling.main(
    ["fit", f"--points={STUDY}/points.csv", f"--out={RUNS}/law.png", f"--resamples={RESAMPLES}"]
)
Image(f"{RUNS}/law.png", width=1000)

# %% [markdown]
# ## A real budget
#
# What the published laws say about Chinchilla's own budget, what it would cost on today's
# hardware, and where the zoo's models stand.

# %%
# !python -m zoo.scaling plan --flops=5.76e23
