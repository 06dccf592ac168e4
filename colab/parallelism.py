# ---
# jupyter:
#   accelerator: NONE
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
# # Parallelism, on eight devices that do not exist
#
# A model that one device cannot hold is split over a mesh of devices. JAX can pretend that a CPU
# is eight devices; the program, the shardings and the numbers are then those of eight real ones,
# only slower.
#
# **Needs:** any runtime, a CPU is enough; nothing is downloaded. **Takes:** one to two minutes to
# install and about three for the rest.

# %% cellView="form" tags=["parameters"]
# @title Settings { display-mode: "form" }
DEVICE = "any"  # @param ["tpu", "gpu", "cpu", "any"]
MODEL = "palm_nano"  # @param {type:"string"}
NUM_STEPS = 20  # @param {type:"integer"}
TOPOLOGY = "v4:12x16x16"  # @param {type:"string"}
EFFORT = "quick"  # @param ["estimate", "quick", "full"]
RUNS = "runs"  # @param {type:"string"}
REPO_URL = ""  # @param {type:"string"}

# %% [markdown]
# ## Install
#
# A Colab runtime has a JAX that is too old for the zoo. This cell installs the pinned versions of
# `colab/constraints.txt` over it, in one step, in one to two minutes, and nothing the second time.
# It changes the runtime itself, not an environment beside it, because a TPU serves one process and
# this notebook is to be that process. NumPy stays as it is, and on a GPU the CUDA libraries do,
# too: JAX shares those of PyTorch. `torch_xla` and other packages of the runtime that need the
# older JAX no longer work in this session.

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

# %% [markdown]
# ## Eight devices
#
# This must come before JAX touches a device.

# %%
import jax

from zoo.distribution.devices import configure

configure(fake_devices=8)
print(*jax.devices(), sep="\n")
assert jax.device_count() == 8, "JAX was in use before: restart the session"

# %% [markdown]
# ## A mesh
#
# Two copies of the model (`data`), each copy's parameters split in two (`fsdp`), and each matrix
# product split in two (`tensor`). A `Program` is an experiment on a mesh: all that is jitted, and
# how every array is sharded.

# %%
import dataclasses

import configs
from configs.experiment import Mesh
from zoo.distribution.devices import resolve_dtype
from zoo.distribution.sharding import make_mesh
from zoo.training.program import Program

experiment = dataclasses.replace(configs.get(MODEL), num_steps=NUM_STEPS)
program = Program(resolve_dtype(experiment), make_mesh(Mesh(data=2, fsdp=2, tensor=2), 8))
with program.entered():
    state = program.init()
for path, array in jax.tree_util.tree_leaves_with_path(state.params):
    print(f"{array.shape!s:20}{array.sharding.spec!s:40}{jax.tree_util.keystr(path)}")

# %% [markdown]
# ## The shardings, drawn
#
# Which device holds which part? First the embedding, [vocabulary, d_model]: `tensor` splits the
# rows, `fsdp` the columns, and both copies of the model hold the same parts.

# %%
jax.debug.visualize_array_sharding(state.params["embedding"][...])

# %% [markdown]
# Then a batch, [sequences, tokens]: `data` and `fsdp` split the sequences, and the devices along
# `tensor` read the same ones.

# %%
batch = program.batch["inputs"]
jax.debug.visualize_sharding(batch.shape, batch.sharding)

# %% [markdown]
# ## Train on the mesh
#
# `Mesh(...)` in a config, or `--mesh.data=2` and so on of `python -m zoo.train`, is all it takes.
# The checkpoint knows no mesh: a run may resume, and a model may be loaded, on another one.

# %%
from IPython.display import display

from zoo.train import train

mesh = Mesh(data=2, fsdp=2, tensor=2)
result = train(dataclasses.replace(experiment, mesh=mesh), f"{RUNS}/parallelism")
display(result)

# %% [markdown]
# ## The same numbers on every mesh
#
# How the work is split does not change what is computed: the same text is as likely on one device,
# on four that share each matrix product, and on eight.

# %%
import zoo

TEXTS = ["import os\n", "for i in range(10):\n"]
for mesh in (None, Mesh(tensor=4, data=2), Mesh(fsdp=8)):
    scores = zoo.load(result.workdir, mesh=mesh).score(TEXTS)
    print([round(score.log_probability, 3) for score in scores], mesh)

# %% [markdown]
# ## A plan for a pod
#
# Does PaLM 540B fit on two pods of TPU v4, as in its paper, and how fast could it be? The planner
# compiles the real train step for chips that need not be present. `EFFORT = "full"` takes longer
# and is exact.

# %%
# !python -m zoo.plan --model=palm_540b --topology={TOPOLOGY} --num-slices=2 --effort={EFFORT} \
#     --batch-tokens=4194304 --mesh.data=2 --mesh.fsdp=256 --mesh.tensor=12

# %% [markdown]
# Which mesh would the zoo choose for LLaMA 7B on 16 chips of TPU v5e, and why?

# %%
# !python -m zoo.plan --model=llama_7b --topology=v5e:4x4 --mesh=auto --batch-tokens=65536 \
#     --effort=estimate
