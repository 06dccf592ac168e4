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
# # An ablation in ten minutes
#
# Between two papers many things change at once. Which of them mattered? This notebook trains the
# model of one paper, the same model with one choice of another paper put back, and says which
# differences are more than noise.
#
# **Needs:** a TPU v5e-1 or v6e-1 runtime, a GPU or a CPU: the models are so small that any will
# do. **Takes:** one to two minutes to install and about ten for the study on two CPU cores. It
# says first what it will cost.

# %% cellView="form" tags=["parameters"]
# @title Settings { display-mode: "form" }
DEVICE = "tpu"  # @param ["tpu", "gpu", "cpu", "any"]
START = "gpt2_small"  # @param {type:"string"}
END = "llama_small"  # @param {type:"string"}
CHOICES = "position norm feed_forward"  # @param {type:"string"}
SEEDS = 3  # @param {type:"integer"}
D_MODEL = 96  # @param {type:"integer"}
NUM_TOKENS = 300_000  # @param {type:"integer"}
VOCAB_SIZE = 1024  # @param {type:"integer"}
SEQ_LEN = 128  # @param {type:"integer"}
TEXT = ""  # @param {type:"string"}
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
# ## The study
#
# Every variant reads the same text in the same order, has the same training FLOPs (the
# feed-forward width makes up for what a choice costs), and gets a learning rate of its own: a sweep
# on a seed that is not used again. Then all variants are trained with the same seeds. Interrupt it
# whenever you like: the same cell goes on where it stopped.

# %%
import shlex

from zoo import ablate

STUDY = f"{RUNS}/ablation"
flags = [f"--from={START}", f"--to={END}", "--choices", *shlex.split(CHOICES)]
flags += ["--designs", "from_end", f"--seeds={SEEDS}", f"--d-model={D_MODEL}"]
flags += [f"--vocab-size={VOCAB_SIZE}", f"--seq-len={SEQ_LEN}", f"--num-tokens={NUM_TOKENS}"]
if TEXT:
    flags.append(f"--files={TEXT}")
ablate.main([*flags, "--jobs=0", f"--workdir={STUDY}"])

# %% [markdown]
# ## The result
#
# A point is the mean difference that one choice makes, in bits per byte: to the left of zero, the
# choice of `END` is better. The bar holds all differences of the study together with probability
# 95 %. If it crosses zero, the choice cannot be told from the luck of the seeds.

# %%
from IPython.display import SVG

SVG(f"{STUDY}/from_end.svg")

# %% [markdown]
# ## Read it with care
#
# The report says which effect this study could have seen at all, and how many seeds a smaller one
# would need. It holds for models of this size, trained this briefly. More seeds, more choices or
# another design (`--designs factorial`, which tells whether a choice helps only together with
# another) add runs to the same folder and repeat none.

# %%
from IPython.display import Markdown

Markdown(Path(STUDY, "study.md").read_text().replace("](from_end.svg)", f"]({STUDY}/from_end.svg)"))
