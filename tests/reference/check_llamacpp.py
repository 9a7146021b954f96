#!/usr/bin/env python3
"""Checks the reference against an implementation that has nothing to do with it: llama.cpp, through xllamacpp.

    check_llamacpp.py MODEL...        needs: pip install numpy gguf tokenizers xllamacpp

llama.cpp quantizes activations where the weights are quantized, so it gets a copy of the model with every tensor
dequantized to F32 and a KV cache of F32: what remains is the order of additions. At several prefixes of a text, greedy
tokens and the log-probabilities of the most likely tokens must agree. (Only the tokens that llama.cpp lists are
compared; the normaliser of its softmax is over the whole vocabulary, so a wrong logit elsewhere shows too.)
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

import gguf_tokenizer
import reference

TOLERANCE = 1e-3  # of a log-probability, in nats
PREFIXES = (1, 2, 9, 32, 100, 250)
GREEDY_TOKENS = 24
LISTED = 200
F32 = 0  # ggml_type


def write_f32_copy(source, target):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 512
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(F32)
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.verbosity = 0
    return xllamacpp.Server(params)


def next_token(server, ids):
    """The greedy next token and {id: log-probability} of the likeliest; None where the server shows none: it ended the
    text, or the token is a part of a character (it holds such tokens back, so one request asks for one token)."""
    request = dict(prompt=ids, n_predict=1, temperature=0.0, samplers=["top_k"], top_k=1, n_probs=LISTED, stream=False)
    logprobs = server.handle_completions(request)["choices"][0]["logprobs"]
    if logprobs is None or not logprobs["content"]:
        return None
    step = logprobs["content"][0]
    return step["id"], {p["id"]: p["logprob"] for p in step["top_logprobs"]}


def log_probabilities(model, ids):
    logits = model.head(model.hidden(ids)[-1:])[0].astype(np.float64)
    return logits - logits.max() - math.log(np.exp(logits - logits.max()).sum())


def check(path):
    model = reference.Model(path)
    if model.arch == "bitnet":
        # This llama.cpp always runs bitnet with SiLU, the activation of its first models; the rest is compared.
        model.activation = reference.silu
    tokenizer = gguf_tokenizer.from_metadata(model.metadata)
    worst, tokens, agreed = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "f32.gguf"
        write_f32_copy(path, copy)
        server = serve(copy)
        for name in reference.TEXTS:
            ids = tokenizer.encode((reference.HERE / "texts" / f"{name}.txt").read_text(encoding="utf-8")).ids
            # llama.cpp may not run past the 256 positions of the tiny models' context
            for prefix in (p for p in PREFIXES if p + GREEDY_TOKENS <= model.metadata[f"{model.arch}.context_length"]):
                sequence = ids[:prefix]
                for _ in range(GREEDY_TOKENS):
                    ours = log_probabilities(model, sequence)
                    if (theirs := next_token(server, sequence)) is not None:
                        id, listed = theirs
                        worst = max(worst, max(abs(ours[i] - logprob) for i, logprob in listed.items()))
                        tokens += 1
                        agreed += ours.max() - ours[id] <= TOLERANCE
                    sequence = sequence + [int(ours.argmax())]
        del server
    ok = worst <= TOLERANCE and agreed == tokens > 0
    name = Path(path).name
    verdict = "ok " if ok else "BAD"
    print(f"{verdict} {name}: {agreed} of {tokens} greedy tokens, log-probabilities within {worst:.1e}", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description="check reference.py against llama.cpp")
    parser.add_argument("models", nargs="+")
    if not all([check(path) for path in parser.parse_args().models]):
        sys.exit(1)


if __name__ == "__main__":
    main()
