#!/usr/bin/env python3
"""An fp32 reference of the llama architecture family, written apart from the Rust engine.

It reads a GGUF file, dequantizes every tensor to float32 and runs the whole sequence at once, for the architectures
llama (SmolLM2, Mistral), qwen2, qwen3 and bitnet. Needs: pip install numpy gguf tokenizers

    reference.py logits MODEL --ids ids.json --out logits.npz    logits of every position
    reference.py perplexity MODEL --text FILE                     one sequence from position 0
    reference.py golden MODEL [--out FILE]                        the goldens of texts/, as committed

Precision: weights, activations and matrix products are float32 (BLAS, float32 accumulation); the RMS norm's mean,
rope's angles, softmax and the log-likelihood are float64. Activations are never quantized and the KV cache is float32.
"""

import argparse
import hashlib
import json
import math
from pathlib import Path

import gguf
import numpy as np

import gguf_tokenizer

HERE = Path(__file__).resolve().parent
TEXTS = ("prose", "chat", "code")
GOLDEN = HERE.parent / "golden" / "reference" / "smollm2-q4_1.json"

# The pairs that rope turns: adjacent values where the converter permuted Q and K for it (llama), else the two halves.
ROPE_ADJACENT = {"llama": True, "qwen2": False, "qwen3": False, "bitnet": False}
# Queries a chunk of attention: bounds the score matrix to heads x 256 x positions.
QUERY_CHUNK = 256


def rms_norm(x, weight, eps):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis."""
    mean_square = np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True)
    return (x / np.sqrt(mean_square + eps)).astype(np.float32) * weight


def softmax(x):
    x = x.astype(np.float64)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


def silu(x):
    # exp overflows to inf for x below -88 and the quotient is then the right -0.
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-x))


def relu2(x):
    return np.square(np.maximum(x, 0))


def read_metadata(reader):
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}


class Model:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.metadata = read_metadata(reader)
        # GGUF lists dimensions fastest first; the arrays that the reader gives are [rows, cols] as numpy wants them.
        dequantize = lambda tensor: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        self.tensors = {tensor.name: dequantize(tensor) for tensor in reader.tensors}

        arch = self.metadata["general.architecture"]
        if arch not in ROPE_ADJACENT:
            raise ValueError(f"general.architecture is {arch!r}: only {', '.join(ROPE_ADJACENT)} are supported")
        key = lambda name, default=None: self.metadata.get(f"{arch}.{name}", default)
        self.arch = arch
        self.n_layer = key("block_count")
        self.n_embd = key("embedding_length")
        self.n_head = key("attention.head_count")
        self.n_head_kv = key("attention.head_count_kv", self.n_head)
        self.head_dim = key("attention.key_length", self.n_embd // self.n_head)
        self.value_dim = key("attention.value_length", self.n_embd // self.n_head)
        self.eps = key("attention.layer_norm_rms_epsilon")
        self.rope_dim = key("rope.dimension_count", self.head_dim)
        self.rope_base = key("rope.freq_base", 10000.0)
        scaling = key("rope.scaling.type", "none")
        if scaling not in ("none", "linear"):
            raise ValueError(f"{arch}.rope.scaling.type is {scaling!r}: only none and linear are supported")
        self.rope_scale = key("rope.scaling.factor") if scaling == "linear" else 1.0
        # bitnet-b1.58-2B-4T squares its ReLU; files of the earlier SiLU models say so in the key.
        activation = key("hidden_activation", "relu2" if arch == "bitnet" else "silu")
        self.activation = {"silu": silu, "relu2": relu2}[activation]

    def linear(self, name, x):
        """x [T, cols] times the transpose of NAME.weight [rows, cols], with its scale and bias where they exist."""
        y = x @ self.tensors[f"{name}.weight"].T
        if (scale := self.tensors.get(f"{name}.scale")) is not None:
            y *= scale
        if (bias := self.tensors.get(f"{name}.bias")) is not None:
            y += bias
        return y

    def norm(self, name, x):
        return rms_norm(x, self.tensors[f"{name}.weight"], self.eps)

    def rope(self, x):
        """Rotary position embedding of x [T, heads, head_dim], positions 0..T; values beyond rope_dim stay."""
        pairs = self.rope_dim // 2
        frequency = self.rope_base ** (-np.arange(pairs, dtype=np.float64) * 2 / self.rope_dim)
        if (factors := self.tensors.get("rope_freqs.weight")) is not None:  # llama 3's long-context factors
            frequency = frequency / factors
        angle = np.arange(x.shape[0], dtype=np.float64)[:, None, None] / self.rope_scale * frequency
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        if ROPE_ADJACENT[self.arch]:
            first, second = slice(0, self.rope_dim, 2), slice(1, self.rope_dim, 2)
        else:
            first, second = slice(0, pairs), slice(pairs, self.rope_dim)
        a, b = x[..., first], x[..., second]
        out = x.copy()
        out[..., first], out[..., second] = a * cos - b * sin, a * sin + b * cos
        return out

    def attention(self, block, x):
        """Causal grouped-query attention before the output projection: [T, n_embd] to [T, n_head * value_dim]."""
        n = x.shape[0]
        q = self.linear(f"{block}.attn_q", x).reshape(n, self.n_head, self.head_dim)
        k = self.linear(f"{block}.attn_k", x).reshape(n, self.n_head_kv, self.head_dim)
        v = self.linear(f"{block}.attn_v", x).reshape(n, self.n_head_kv, self.value_dim)
        if self.arch == "qwen3":  # one norm weight [head_dim], shared by the heads, before rope
            q, k = self.norm(f"{block}.attn_q_norm", q), self.norm(f"{block}.attn_k_norm", k)
        q, k = self.rope(q), self.rope(k)

        group = self.n_head // self.n_head_kv  # query head h reads key/value head h / group
        k = np.repeat(k, group, axis=1).transpose(1, 2, 0)  # [heads, head_dim, T]
        v = np.repeat(v, group, axis=1).transpose(1, 0, 2)  # [heads, T, value_dim]
        out = np.empty((n, self.n_head, self.value_dim), np.float32)
        for start in range(0, n, QUERY_CHUNK):
            end = min(start + QUERY_CHUNK, n)
            scores = q[start:end].transpose(1, 0, 2) @ k[:, :, :end] / np.float32(math.sqrt(self.head_dim))
            future = np.arange(end)[None, :] > np.arange(start, end)[:, None]
            scores[:, future] = -np.inf
            out[start:end] = (softmax(scores) @ v[:, :end]).transpose(1, 0, 2)
        return out.reshape(n, -1)

    def hidden(self, ids):
        """The final norm's output at every position of one sequence from position 0: [T, n_embd]."""
        x = self.tensors["token_embd.weight"][np.asarray(ids)]
        for layer in range(self.n_layer):
            block = f"blk.{layer}"
            attn = self.attention(block, self.norm(f"{block}.attn_norm", x))
            if self.arch == "bitnet":
                attn = self.norm(f"{block}.attn_sub_norm", attn)
            x = x + self.linear(f"{block}.attn_output", attn)

            h = self.norm(f"{block}.ffn_norm", x)
            h = self.activation(self.linear(f"{block}.ffn_gate", h)) * self.linear(f"{block}.ffn_up", h)
            if self.arch == "bitnet":
                h = self.norm(f"{block}.ffn_sub_norm", h)
            x = x + self.linear(f"{block}.ffn_down", h)
        return self.norm("output_norm", x)

    def head(self, hidden):
        """Logits [.., n_vocab]; the head is the embedding where the file has no output tensor."""
        return self.linear("output" if "output.weight" in self.tensors else "token_embd", hidden)

    def logits(self, ids):
        return self.head(self.hidden(ids))


def evaluate(model, ids):
    """How the model predicts each next token of the sequence. For position t of 0..T-1: nll[t] of ids[t + 1] in nats,
    the most likely id top1[t], and margin[t], its logit less the second's."""
    hidden = model.hidden(ids)[:-1]
    nll, top1, margin = [], [], []
    for start in range(0, len(hidden), 64):  # a chunk at a time: the logits of a whole text would take 200 MB
        logits = model.head(hidden[start : start + 64]).astype(np.float64)
        target = np.asarray(ids[start + 1 : start + 1 + len(logits)])
        peak = logits.max(axis=-1)
        log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=-1))
        nll.extend(log_sum - logits[np.arange(len(logits)), target])
        top1.extend(int(id) for id in logits.argmax(axis=-1))
        best_two = np.partition(logits, -2, axis=-1)[:, -2:]
        margin.extend(best_two[:, 1] - best_two[:, 0])
    return {"nll": nll, "top1": top1, "margin": margin}


def perplexity(nll):
    return math.exp(math.fsum(nll) / len(nll))


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def golden(path):
    model = Model(path)
    tokenizer = gguf_tokenizer.from_metadata(model.metadata)
    result = {"model_sha256": sha256(path), "perplexity": 0.0, "texts": {}}
    all_nll = []
    for name in TEXTS:
        ids = tokenizer.encode((HERE / "texts" / f"{name}.txt").read_text(encoding="utf-8")).ids
        scores = evaluate(model, ids)
        all_nll += scores["nll"]
        result["texts"][name] = {
            "perplexity": round(perplexity(scores["nll"]), 6),
            "ids": ids,
            "nll": [round(x, 5) for x in scores["nll"]],
            "top1": scores["top1"],
            "margin": [round(x, 4) for x in scores["margin"]],
        }
        print(f"{name}: {len(ids)} tokens, perplexity {perplexity(scores['nll']):.4f}")
    result["perplexity"] = round(perplexity(all_nll), 6)
    print(f"all: {len(all_nll)} positions, perplexity {result['perplexity']:.4f}")
    return result


def dump_json(value, path):
    """Objects over several lines, each list on one: a diff then shows which list changed."""

    def encode(node, indent):
        if not isinstance(node, dict):
            return json.dumps(node, separators=(",", ":"))
        inner = indent + " "
        items = ",\n".join(f"{inner}{json.dumps(key)}: {encode(child, inner)}" for key, child in node.items())
        return f"{{\n{items}\n{indent}}}"

    Path(path).write_text(encode(value, "") + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="fp32 reference of the llama architecture family")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("logits", help="write the logits of every position of one sequence")
    command.add_argument("model")
    command.add_argument("--ids", required=True, help='JSON: a list of token ids or {"ids": [...]}')
    command.add_argument("--out", required=True, help="an .npz with ids and logits [positions, vocabulary]")
    command = commands.add_parser("perplexity", help="perplexity of a text as one sequence from position 0")
    command.add_argument("model")
    command.add_argument("--text", required=True)
    command = commands.add_parser("golden", help="write the goldens of texts/*.txt")
    command.add_argument("model")
    command.add_argument("--out", default=GOLDEN)
    args = parser.parse_args()

    if args.command == "golden":
        dump_json(golden(args.model), args.out)
        return
    model = Model(args.model)
    if args.command == "logits":
        ids = json.loads(Path(args.ids).read_text())
        ids = ids["ids"] if isinstance(ids, dict) else ids
        np.savez_compressed(args.out, ids=np.asarray(ids), logits=model.logits(ids))
    else:
        text = Path(args.text).read_text(encoding="utf-8")
        ids = gguf_tokenizer.from_metadata(model.metadata).encode(text).ids
        nll = evaluate(model, ids)["nll"]
        mean_nll = math.fsum(nll) / len(nll)
        print(json.dumps({"tokens": len(ids), "mean_nll": mean_nll, "perplexity": math.exp(mean_nll)}))


if __name__ == "__main__":
    main()
