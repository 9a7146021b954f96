"""A Hugging Face tokenizer built from the metadata of a GGUF file.

Only the byte-level BPE models that the reference needs: `tokenizer.ggml.model = gpt2` with the pre-tokenizers
`smollm` and `gpt-2`/`default`. The oracle for token ids is the `tokenizers` library, not our own code.
"""

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, decoders

# gguf.TokenType
CONTROL, USER_DEFINED = 3, 4


def from_metadata(metadata):
    """`metadata`: GGUF keys to values. Special tokens in a text are parsed."""
    model, pre = metadata["tokenizer.ggml.model"], metadata.get("tokenizer.ggml.pre", "default")
    if model != "gpt2":
        raise ValueError(f"tokenizer.ggml.model is {model!r}: only gpt2 is supported here")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre == "smollm":
        pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif pre in ("gpt-2", "default"):
        pre_tokenizer = byte_level
    else:
        raise ValueError(f"tokenizer.ggml.pre is {pre!r}: only smollm, gpt-2 and default are supported here")

    tokens = metadata["tokenizer.ggml.tokens"]
    vocab = {token: id for id, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        AddedToken(tokens[id], special=kind == CONTROL, normalized=False)
        for id, kind in enumerate(metadata["tokenizer.ggml.token_type"])
        if kind in (CONTROL, USER_DEFINED)
    ]
    tokenizer.add_tokens(special)
    return tokenizer
