"""Trains tiny SentencePiece vocabularies and writes their ids: tests/golden/tokenizer/spm_*.json, in the order of texts.json.

    pip install sentencepiece==0.2.3
    python tests/reference/sentencepiece_goldens.py

SentencePiece itself is the oracle. It never parses control tokens in a text, so all ids are those of Special::AsText.
Each vocabulary is in the golden whole, under the names of the GGUF keys, as llama.cpp's converter would write it.
"""

import io
import tempfile
from pathlib import Path

import sentencepiece

from tokenizer_goldens import write
from tokenizer_texts import TEXTS

TRAINING = [
    line
    for file in sorted((Path(__file__).parent / "texts").glob("*.txt"))
    for line in file.read_text().splitlines()
    if line
] + [text for text in TEXTS if text.strip() and "\0" not in text]

USER_DEFINED = ["<tool>", "<tool><tool>", "\n\n", "▁▁▁▁", "<h1>"]

COMMON = dict(
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    allow_whitespace_only_pieces=True,
    character_coverage=0.98,
    num_threads=1,
    minloglevel=2,
)

# What is replaced by what.
RULES = {
    "\n": " ", "\r": " ", "\t": " ", "\u00a0": " ", "\u3000": " ", "\u200b": "", "\ufeff": "", "\x04": "",
    "ﬁ": "fi", "ﬃ": "ffi", "½": "1⁄2", "e\u0301": "é", "a\u0308\u0304": "ǟ", "a\u0308": "ä", "\u00a8": " \u0308", "…": "...",
    "Ａ": "A", "Ｂ": "B", "Ｃ": "C", "👨‍❤️‍💋‍👨": "kiss", "ﷺ": "صلى الله عليه وسلم", "'s": "’s", "<|": "⟨|",
}

MODELS = {
    # Llama 2: a space is put before the text; what has no token becomes bytes.
    "llama": dict(model_type="bpe", byte_fallback=True, vocab_size=900, split_digits=True),
    # Gemma: no space before the text; tokens added by its makers are found first.
    "gemma": dict(
        model_type="bpe", byte_fallback=True, vocab_size=900, add_dummy_prefix=False, user_defined_symbols=USER_DEFINED
    ),
    # No byte tokens: what has no token becomes <unk>. Tokens reach over spaces.
    "unk": dict(model_type="bpe", vocab_size=700, split_by_whitespace=False),
    # T5 without its normalization.
    "unigram": dict(model_type="unigram", vocab_size=900),
    "unigram_bytes": dict(model_type="unigram", byte_fallback=True, vocab_size=900, add_dummy_prefix=False),
    # As T5 normalizes, with rules of our own: the ones of NFKC take 240 kB.
    "unigram_normalized": dict(model_type="unigram", vocab_size=700, remove_extra_whitespaces=True, rules=RULES),
    "unigram_squeezed": dict(model_type="unigram", vocab_size=700, remove_extra_whitespaces=True),
}


def train(options):
    options = dict(options)
    rules = options.pop("rules", None)
    if rules:
        codes = lambda text: " ".join(f"{ord(c):X}" for c in text)
        file = tempfile.NamedTemporaryFile("w", suffix=".tsv")
        file.writelines(f"{codes(text)}\t{codes(by)}\n" for text, by in rules.items())
        file.flush()
        options["normalization_rule_tsv"] = file.name
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING), model_writer=model, **{**COMMON, **options}
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def field(message, wanted):
    """The last field of that number, of those that hold bytes, in a serialized protocol buffer."""
    found, at = b"", 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            varint()
        else:
            length = {1: 8, 2: None, 5: 4}[kind]
            length = varint() if length is None else length
            if number == wanted:
                found = message[at : at + length]
            at += length
    return found


def token_type(processor, id, options):
    if processor.is_unknown(id):
        return 2
    if processor.is_control(id):
        return 3
    if processor.id_to_piece(id) in options.get("user_defined_symbols", []):
        return 4
    if processor.is_unused(id):
        return 5
    return 6 if processor.is_byte(id) else 1


def main():
    for name, options in MODELS.items():
        processor = train(options)
        ids = range(processor.vocab_size())
        vocabulary = {
            "model": "llama" if options["model_type"] == "bpe" else "t5",
            "tokens": [processor.id_to_piece(id) for id in ids],
            "scores": [processor.get_score(id) for id in ids],
            "token_types": [token_type(processor, id, options) for id in ids],
            "unknown_token_id": processor.unk_id(),
            "bos_token_id": processor.bos_id(),
            "eos_token_id": processor.eos_id(),
            "add_space_prefix": options.get("add_dummy_prefix", True),
            "remove_extra_whitespaces": options.get("remove_extra_whitespaces", False),
        }
        # ModelProto.normalizer_spec.precompiled_charsmap
        charsmap = field(field(processor.serialized_model_proto(), 3), 2)
        if charsmap:
            vocabulary["precompiled_charsmap"] = list(charsmap)
        write(
            f"spm_{name}.json",
            {
                "oracle": f"sentencepiece {sentencepiece.__version__}",
                "vocabulary": vocabulary,
                "ids": [processor.encode(text) for text in TEXTS],
            },
            "ids",
        )


if __name__ == "__main__":
    main()
