"""A vocabulary trained here, exported to the format of Hugging Face's `tokenizers`."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from data.vocabularies.lossless import LosslessVocabulary
from data.vocabularies.sentencepiece_model import BOS_ID, EOS_ID, PAD_ID, SPACE_MARK, UNK_ID


def to_tokenizer_json(vocabulary: LosslessVocabulary) -> dict[str, bytes]:
    """Return tokenizer.json and tokenizer_config.json, which encode to BOS and the same ids.

    The export differs in two ways: U+2581 in a text becomes a space, and the name of a special
    token in a text becomes that token.
    """
    ids = {vocabulary.token_string(i): i for i in range(vocabulary.size)}
    special_tokens = {
        "bos_token": vocabulary.token_string(BOS_ID),
        "eos_token": vocabulary.token_string(EOS_ID),
        "unk_token": vocabulary.token_string(UNK_ID),
        "pad_token": vocabulary.token_string(PAD_ID),
    }
    tokenizer = Tokenizer(
        BPE(
            vocab=ids,
            merges=_merges(ids),
            unk_token=special_tokens["unk_token"],
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", SPACE_MARK)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bos = special_tokens["bos_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, BOS_ID)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special_tokens.values()]
    )
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": json.dumps(settings | special_tokens, indent=2).encode(),
    }


def _merges(ids: dict[str, int]) -> list[tuple[str, str]]:
    """Return every split of a token into two other tokens, in the order of the ids.

    The trainer numbered the tokens in the order in which it made them; the encoder must merge in
    the same order.
    """
    return [
        (token[:cut], token[cut:])
        for token in ids
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
