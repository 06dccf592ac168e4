"""A vocabulary that was trained here in the words of Hugging Face's `tokenizers`."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from data.vocabularies.base import BOS_ID, EOS_ID, PAD_ID, UNK_ID, LosslessVocabulary

_SPACE_MARK = "\u2581"


def to_tokenizer_json(vocabulary: LosslessVocabulary) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json, which give the ids of `vocabulary` after its BOS.

    Two things differ there: U+2581 stands for a space, and the names of the marks in a text mean the
    marks.
    """
    ids = {vocabulary.piece(i): i for i in range(vocabulary.size)}
    marks = {
        "bos_token": vocabulary.piece(BOS_ID),
        "eos_token": vocabulary.piece(EOS_ID),
        "unk_token": vocabulary.piece(UNK_ID),
        "pad_token": vocabulary.piece(PAD_ID),
    }
    tokenizer = Tokenizer(
        BPE(vocab=ids, merges=_merges(ids), unk_token=marks["unk_token"], byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE_MARK)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bos = marks["bos_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, BOS_ID)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(mark, special=True, normalized=False) for mark in marks.values()]
    )
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": json.dumps(settings | marks, indent=2).encode(),
    }


def _merges(ids: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, in the order of the pieces' ids: the order in
    which the trainer made them, which is the order in which the encoder merges."""
    return [
        (piece[:cut], piece[cut:])
        for piece in ids
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
