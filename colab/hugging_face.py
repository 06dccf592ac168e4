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
# # Take weights from Hugging Face, train on, and give them back
#
# GPT-1, GPT-2 and LLaMA models, and those of the same shape, become checkpoints of the zoo. Here
# GPT-2 is imported, compared with `transformers` logit by logit, sampled, trained on Python code,
# and exported.
#
# **Needs:** a TPU v5e-1 or v6e-1 runtime or a GPU of 16 GB, and the network: GPT-2's files are 550
# MB. On a CPU, set `NUM_STEPS` to 10. **Takes:** one to two minutes to install; most of the rest
# is the training, whose log says how long it will be.

# %% cellView="form" tags=["parameters"]
# @title Settings { display-mode: "form" }
DEVICE = "tpu"  # @param ["tpu", "gpu", "cpu", "any"]
HF_MODEL = "openai-community/gpt2"  # @param {type:"string"}
HF_FOLDER = ""  # @param {type:"string"}
TEXT = ""  # @param {type:"string"}
NUM_STEPS = 200  # @param {type:"integer"}
BATCH_SIZE = 8  # @param {type:"integer"}
PROMPT = "def main("  # @param {type:"string"}
USE_DRIVE = False  # @param {type:"boolean"}
RUNS = "runs"  # @param {type:"string"}
REPO_URL = ""  # @param {type:"string"}

# %% [markdown]
# `HF_FOLDER` is a folder with a model, if you have one; otherwise `HF_MODEL` is downloaded. `TEXT`
# is a glob of your own files; without one, the model reads Python's standard library.

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
# ## Import
#
# The import reads safetensors and a tokenizer, and refuses what the zoo cannot compute exactly.
# `--verify` compares the logits of random tokens with those of `transformers`; if they differ,
# nothing is written.

# %%
from huggingface_hub import snapshot_download

from zoo import convert

FILES = ["*config.json", "*.safetensors", "tokenizer*", "vocab.json", "merges.txt"]
folder = HF_FOLDER or snapshot_download(HF_MODEL, allow_patterns=FILES)
IMPORTED = f"{RUNS}/imported"
if not Path(IMPORTED).exists():
    convert.main([f"--from-hf={folder}", f"--out={IMPORTED}", "--verify"])

# %% [markdown]
# ## Sample
#
# The same prompt and the same seed, so that we can compare later.

# %%
import zoo

sampling = zoo.Sampling(temperature=0.8, top_p=0.95)
model = zoo.load(IMPORTED)
print(PROMPT + model.sample([PROMPT], max_tokens=100, sampling=sampling)[0])

# %% [markdown]
# ## Train on
#
# The config of an imported model is a fine-tuning: AdamW with a low peak learning rate. It starts
# from the imported weights, and keeps their tokenizer.

# %%
import dataclasses

from data.config import Data, Files, Task
from zoo.train import train

experiment = dataclasses.replace(
    model.experiment,
    data=Data(source=Files(TEXT) if TEXT else Task()),
    init_from=IMPORTED,
    num_steps=NUM_STEPS,
    batch_tokens=BATCH_SIZE * model.experiment.seq_len,
)
result = train(experiment, f"{RUNS}/fine_tuned")

# %%
from IPython.display import display

display(result)

# %%
tuned = zoo.load(result.workdir)
print(PROMPT + tuned.sample([PROMPT], max_tokens=100, sampling=sampling)[0])

# %% [markdown]
# ## Export
#
# A folder for `AutoModelForCausalLM` and `AutoTokenizer`, compared again before it is kept.

# %%
EXPORTED = f"{RUNS}/exported"
if not Path(EXPORTED).exists():
    convert.main([f"--to-hf={EXPORTED}", f"--checkpoint={result.workdir}", "--verify"])
print(*sorted(path.name for path in Path(EXPORTED).iterdir()), sep="\n")
