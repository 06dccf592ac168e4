"""The choices between GPT-1 and LLaMA: which of them matter?

The five years between the two papers changed the positions, the norm and its place, the activation,
the biases, the output matrix, the initialisation, the dropout and the optimizer, mostly several at
a time. The study's models have half the width of the `_small` ones, to make its runs affordable:

    python -m zoo.ablate --study=gpt1_to_llama
"""

from configs.studies.study import AblationStudy

STUDY = AblationStudy(
    start="gpt1_small",
    end="llama_small",
    designs=("from_start", "from_end"),
    d_model=136,
    vocab_size=1024,
    seq_len=128,
    batch_tokens=1024,
    num_tokens=307_200,
)
