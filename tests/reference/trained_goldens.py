"""Computes what the trainer's tokenizers have to come to: tests/golden/tokenizer/trained.json.

    pip install tokenizers==0.23.3
    python tests/reference/trained_goldens.py

The merges that Hugging Face `tokenizers` learns from texts/ and the strings of tokenizer_texts.py, in order, and the
ids of those strings.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenizer_texts import TEXTS

HERE = Path(__file__).parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB_SIZE = 700
# The trainer looks at no more of a word.
WORD_BYTES = 256


def main():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [path.read_text(encoding="utf-8") for path in sorted((HERE / "texts").glob("*.txt"))]
    tokenizer.train_from_iterator(texts + [text for text in TEXTS if len(text.encode()) <= WORD_BYTES], trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    ordinary = [text for text in TEXTS if not any(token in text for token in SPECIAL)]
    golden = {
        "vocab_size": VOCAB_SIZE,
        "merges": [" ".join(pair) for pair in merges],
        "texts": ordinary,
        "ids": [tokenizer.encode(text).ids for text in ordinary],
    }
    path = HERE.parent / "golden" / "tokenizer" / "trained.json"
    path.write_text(json.dumps(golden, ensure_ascii=True) + "\n")
    print(f"{path}: {len(merges)} merges, {len(ordinary)} texts")


if __name__ == "__main__":
    main()
