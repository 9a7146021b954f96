"""Computes what the tokenizer tests expect: tests/golden/tokenizer/{texts,smollm2,splits,classes,bpe_*}.json.

    pip install tokenizers==0.23.3 gguf numpy xllamacpp
    python tests/reference/tokenizer_goldens.py path/to/SmolLM2-135M-Instruct.Q4_1.gguf

The cases are in the order of the texts. The oracle is Hugging Face `tokenizers`, the library SmolLM2 was trained with: its vocabulary and merges come from the GGUF
file, its pre-tokenizer and decoder from the model's tokenizer.json (Digits then ByteLevel, no unknown token). llama.cpp
is asked too, through the tokenize endpoint of xllamacpp's server on the loopback interface. Where the two differ the
golden keeps both and the tests follow Hugging Face, because the model was trained with it; the script lists such texts.
As of tokenizers 0.23.3 and xllamacpp 2026.10 there are none.

SmolLM2 has no token for 21 of the 256 bytes. Both leave such a byte out; Hugging Face does so before merging.
"""

import hashlib
import json
import sys
import urllib.request
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers import __version__ as tokenizers_version

from tokenizer_texts import TEXTS

GOLDEN = Path(__file__).parent.parent / "golden" / "tokenizer"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def smollm_pre_tokenizer():
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )


def smollm2(fields):
    """The reference tokenizer over the vocabulary of the GGUF file."""
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = smollm_pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"].contents()
    assert set(types) == {1, 3}, "only normal and control tokens"
    control = [token for token, kind in zip(tokens, types) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer


class LlamaCpp:
    def __init__(self, model):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = 64
        params.warmup = False
        params.hostnames = ["127.0.0.1"]
        self.server = xllamacpp.Server(params)
        self.name = f"xllamacpp {xllamacpp.__version__}"

    def encode(self, text, parse_special):
        body = json.dumps({"content": text, "add_special": False, "parse_special": parse_special}).encode()
        request = urllib.request.Request(
            self.server.listening_address + "/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)["tokens"]


def smollm2_cases(tokenizer, llama_cpp):
    for text in TEXTS:
        case = {}
        for key, as_text in (("ids", False), ("ids_as_text", True)):
            tokenizer.encode_special_tokens = as_text
            case[key] = tokenizer.encode(text, add_special_tokens=False).ids
            theirs = llama_cpp.encode(text, not as_text)
            if theirs != case[key]:
                case["llama_cpp_" + key] = theirs
        if case["ids_as_text"] == case["ids"]:
            del case["ids_as_text"]
        decoded = tokenizer.decode(case["ids"], skip_special_tokens=False)
        if decoded != text:
            case["decoded"] = decoded
        yield case


def splits():
    """The lengths in bytes of the words that each pre-tokenizer cuts the texts into."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    by_name = {
        "smollm": smollm_pre_tokenizer(),
        "gpt-2": byte_level,
        "llama-bpe": split(LLAMA3),
        "qwen2": split(QWEN2),
        "qwen35": split(QWEN35),
        # llama.cpp's own expressions for files that name none; there is no Hugging Face original.
        "default": pre_tokenizers.Sequence(
            [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split(r"[0-9][0-9][0-9]")]
        ),
    }

    def lengths(pre_tokenizer, text):
        pieces = [text[start:end] for _, (start, end) in pre_tokenizer.pre_tokenize_str(text)]
        assert "".join(pieces) == text
        return [len(piece.encode()) for piece in pieces]

    # Case folding can turn other letters into those of the contractions: try every letter that folds to one.
    texts = [f"x'{c}x" for c in "sStTmMdDſKåÅ\u212b"] + [f"'{a}{b}" for a in "rvlRVLſ" for b in "eElLſEé\u0301"]
    texts += ["'ſt", "'st 'ﬆ 'ﬅ", "'ßx 'ẞx", "'ŝ 'Ŝ", "'ı 'İ"]
    return {
        "more_texts": texts,
        "lengths": {name: [lengths(pre, text) for text in TEXTS + texts] for name, pre in by_name.items()},
    }


def tiny_bpe(name, pre_tokenizer, ignore_merges):
    """A tokenizer trained on the reference texts, as a GGUF file would hold it, and the ids of all texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizer, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    control, user_defined = ["<|begin_of_text|>", "<|eot_id|>", "<|im|>"], ["<|im|><|im|>", "  <x>", "é<x>"]
    trainer = trainers.BpeTrainer(
        vocab_size=800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    corpus = [path.read_text() for path in sorted((Path(__file__).parent / "texts").glob("*.txt"))]
    tokenizer.train_from_iterator(corpus + TEXTS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    if ignore_merges:
        # Drop some merges but not what they make: only a whole word can still become that token.
        parts = {part for merge in merges for part in merge}
        merges = [(a, b) for rank, (a, b) in enumerate(merges) if a + b in parts or rank % 3]
    tokens = sorted(model["vocab"], key=model["vocab"].get) + control + user_defined
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer.model = models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
    assert tokenizer.get_vocab_size() == len(tokens)
    texts = TEXTS + ["<|im|><|im|><|im|>", "a  <x>b", " é<x>", "<|begin_of_text|>the  <x> and<|eot_id|>"]
    ids = {}
    for key, as_text in (("ids", False), ("ids_as_text", True)):
        tokenizer.encode_special_tokens = as_text
        ids[key] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    types = [1] * (len(tokens) - len(control) - len(user_defined)) + [3] * len(control) + [4] * len(user_defined)
    vocabulary = {
        "model": "gpt2",
        "pre": name,
        "tokens": tokens,
        "token_types": types,
        "merges": [" ".join(merge) for merge in merges],
    }
    return {"vocabulary": vocabulary, "more_texts": texts[len(TEXTS) :], **ids}


def classes():
    """Ranges of code points, ends included, as the oracle's regular expressions see them."""
    everything = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

    def ranges(pattern):
        kept = set()
        for piece, _ in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str("".join(everything)):
            kept.update(piece)
        points = [ord(c) for c in everything if c not in kept]
        found = []
        for point in points:
            if found and found[-1][1] == point - 1:
                found[-1][1] = point
            else:
                found.append([point, point])
        return found

    names = {"letter": r"\p{L}", "mark": r"\p{M}", "number": r"\p{N}", "punctuation": r"\p{P}", "whitespace": r"\s"}
    return {**{name: ranges(pattern) for name, pattern in names.items()}, "unassigned": ranges(r"\p{Cn}")}


def write(name, value, per_line=None):
    """One line per element of the list under `per_line`, so that a diff shows which one changed."""
    dump = lambda item: json.dumps(item, separators=(",", ":"))
    fields = [f"{dump(key)}:{dump(item)}" for key, item in value.items() if key != per_line]
    if per_line:
        fields.append(f"{dump(per_line)}:[\n" + ",\n".join(map(dump, value[per_line])) + "\n]")
    (GOLDEN / name).write_text("{" + ",".join(fields) + "}\n")


def main():
    from gguf import GGUFReader

    model = Path(sys.argv[1])
    oracle = f"tokenizers {tokenizers_version}"
    llama_cpp = LlamaCpp(model)
    cases = list(smollm2_cases(smollm2(GGUFReader(model).fields), llama_cpp))
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    write(
        "smollm2.json", {"model_sha256": sha256, "oracle": oracle, "second": llama_cpp.name, "cases": cases}, "cases"
    )
    write("texts.json", {"texts": TEXTS}, "texts")
    write("splits.json", {"oracle": oracle, **splits()})
    for name, pattern, ignore_merges in (("gpt-2", GPT2, False), ("llama-bpe", LLAMA3, True), ("qwen2", QWEN2, False)):
        write(f"bpe_{name}.json", {"oracle": oracle, **tiny_bpe(name, split(pattern), ignore_merges)}, "ids")
    write("classes.json", {"oracle": oracle, **classes()})
    differ = [text for text, case in zip(TEXTS, cases) if any(key.startswith("llama_cpp") for key in case)]
    print(f"{len(cases)} texts; llama.cpp differs on {len(differ)}:")
    for text in differ:
        print("   ", ascii(text[:60]))


if __name__ == "__main__":
    main()
