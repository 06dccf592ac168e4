"""The choices between GPT-1 and LLaMA: which of them matter?

The five years between the two papers changed the positions, the norm and its place, the activation,
the biases, the output matrix, the initialisation, the dropout, the optimizer and its schedule, most
of them together with others. The study's models have half the width and half the layers of
`gpt1_small`, to make its runs affordable:

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
