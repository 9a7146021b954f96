#!/usr/bin/env python3
"""Writes tests/golden/models: tiny random models of each architecture and format, with their reference logits.

Each NAME.gguf has a NAME.json beside it with the logits that reference.py computes from that file, so that the Rust
tests compare every architecture without Python. The files are committed; run this only to change them, and check the
result with check_llamacpp.py. Needs: pip install numpy gguf tokenizers
"""

import json

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import ifairy
import reference

OUT = reference.HERE.parent / "golden" / "models"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VOCAB = 283  # 3 special tokens, 256 bytes, 24 merges; odd on purpose: no tile of rows divides it
SEQUENCE = 48
POSITIONS = [0, 1, 6, 17, 33, 47]

# Quantized rows are whole blocks of 32 weights, so 64 and 96 wide; unquantized ones may be smaller to keep files small.
SMALL = dict(hidden=32, heads=2, kv=1, head_dim=16, ffn=96, layers=2)
USUAL = dict(hidden=64, heads=4, kv=2, head_dim=16, ffn=96, layers=2)
# name: architecture, type of the matrices, type of the embedding, shape, extras
MODELS = {
    "llama-f32": ("llama", Type.F32, Type.F32, SMALL, {}),
    "llama-f16": ("llama", Type.F16, Type.F16, SMALL, dict(rope_scale=4.0)),
    "llama-bf16": ("llama", Type.BF16, Type.BF16, SMALL, {}),
    "llama-q8_0": ("llama", Type.Q8_0, Type.Q8_0, USUAL, {}),
    "llama-q4_0": ("llama", Type.Q4_0, Type.Q8_0, USUAL, {}),
    "llama-q4_1": ("llama", Type.Q4_1, Type.Q8_0, USUAL, {}),
    "llama-iq4_nl": ("llama", Type.IQ4_NL, Type.Q8_0, USUAL, {}),
    # llama 3: its own output head and rope frequency factors, heads wider than hidden / heads
    "llama3-q4_0": ("llama", Type.Q4_0, Type.F16, USUAL | dict(head_dim=32), dict(untied=True, rope_factors=True)),
    "qwen2-f16": ("qwen2", Type.F16, Type.F16, SMALL, {}),
    "qwen2-q4_0": ("qwen2", Type.Q4_0, Type.Q8_0, USUAL, dict(untied=True)),
    "qwen3-f16": ("qwen3", Type.F16, Type.F16, SMALL | dict(head_dim=32), {}),
    "qwen3-q8_0": ("qwen3", Type.Q8_0, Type.Q8_0, USUAL | dict(head_dim=32), {}),
    "bitnet-f16": ("bitnet", Type.F16, Type.F16, SMALL, {}),
    "bitnet-q8_0": ("bitnet", Type.Q8_0, Type.Q8_0, USUAL, {}),
    # shapes in complex channels; the weights are those that PhaseQuant leaves
    "ifairy-f16": ("ifairy", Type.F16, Type.F16, SMALL | dict(heads=4, kv=2, head_dim=8), dict(untied=True)),
    "ifairy-q8_0": ("ifairy", Type.Q8_0, Type.Q8_0, USUAL, dict(untied=True)),
}


def train_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(reference.HERE / "texts" / f"{name}.txt") for name in reference.TEXTS], trainer)
    return tokenizer


def add_tokenizer(writer, tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    kinds = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def quantize_iq4_nl(weights):
    """The gguf package reads IQ4_NL but does not write it: the nearest level, the scale set by the largest weight."""
    levels = np.array(gguf.quants.IQ4_NL.kvalues, np.float32)
    blocks = weights.reshape(-1, 32)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = (largest / levels[0]).astype(np.float16)
    codes = np.abs(blocks[:, :, None] / scale[:, :, None].astype(np.float32) - levels).argmin(axis=-1).astype(np.uint8)
    data = np.concatenate([scale.view(np.uint8), codes[:, :16] | codes[:, 16:] << 4], axis=1)
    return data.reshape(weights.shape[0], -1)


def quantize(weights, kind):
    return quantize_iq4_nl(weights) if kind == Type.IQ4_NL else gguf.quants.quantize(weights, kind)


def write_model(path, seed, arch, matrices, embedding, shape, extras):
    rng = np.random.default_rng(seed)
    hidden, heads, kv, head_dim, ffn = (shape[k] for k in ("hidden", "heads", "kv", "head_dim", "ffn"))
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(f"halfpi test {path.stem}")
    writer.add_block_count(shape["layers"])
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_vocab_size(VOCAB)
    writer.add_layer_norm_rms_eps(1e-5 if arch == "llama" else 1e-6)
    writer.add_rope_freq_base(10000.0 if arch == "llama" else 500000.0)
    writer.add_rope_dimension_count(head_dim)
    if scale := extras.get("rope_scale"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scale)
    if head_dim != hidden // heads:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if arch in ("bitnet", "ifairy"):
        writer.add_string(f"{arch}.hidden_activation", "relu2")
    add_tokenizer(writer, train_tokenizer())

    # Vectors, embeddings and the head have two floats a complex channel.
    floats = 2 if arch == "ifairy" else 1

    def matrix(name, rows, cols, kind, gain=1.0):
        if arch == "ifairy" and name.startswith("blk"):
            weights = rng.normal(0, gain / np.sqrt(2 * cols), (2, rows, cols))
            weights = ifairy.phase_quant(weights[0] + 1j * weights[1])
            weights = np.concatenate([weights.real, weights.imag])
            writer.add_tensor(f"{name}.weight", quantize(weights, kind), raw_dtype=kind)
            return
        cols *= floats
        weights = rng.normal(0, gain / np.sqrt(cols), (rows, cols)).astype(np.float32)
        if arch == "bitnet" and kind == matrices and name.startswith("blk"):
            scale = np.abs(weights).mean()
            weights = (np.clip(np.round(weights / scale), -1, 1) * scale).astype(np.float32)
        writer.add_tensor(f"{name}.weight", quantize(weights, kind), raw_dtype=kind)

    def vector(name, n, mean, deviation):
        writer.add_tensor(name, rng.normal(mean, deviation, floats * n).astype(np.float32))

    # Gains above 1 for Q and K make the attention choose; a uniform average would hide a wrong rope.
    matrix("token_embd", VOCAB, hidden, embedding, gain=2.0)
    for block in (f"blk.{layer}" for layer in range(shape["layers"])):
        vector(f"{block}.attn_norm.weight", hidden, 1.0, 0.2)
        matrix(f"{block}.attn_q", heads * head_dim, hidden, matrices, gain=1.5)
        matrix(f"{block}.attn_k", kv * head_dim, hidden, matrices, gain=1.5)
        matrix(f"{block}.attn_v", kv * head_dim, hidden, matrices)
        if arch == "qwen2":
            vector(f"{block}.attn_q.bias", heads * head_dim, 0.0, 0.5)
            vector(f"{block}.attn_k.bias", kv * head_dim, 0.0, 0.5)
            vector(f"{block}.attn_v.bias", kv * head_dim, 0.0, 0.5)
        if arch == "qwen3":
            vector(f"{block}.attn_q_norm.weight", head_dim, 1.2, 0.3)
            vector(f"{block}.attn_k_norm.weight", head_dim, 1.2, 0.3)
        if arch in ("bitnet", "ifairy"):
            vector(f"{block}.attn_sub_norm.weight", heads * head_dim, 1.0, 0.2)
        matrix(f"{block}.attn_output", hidden, heads * head_dim, matrices)
        vector(f"{block}.ffn_norm.weight", hidden, 1.0, 0.2)
        matrix(f"{block}.ffn_gate", ffn, hidden, matrices)
        matrix(f"{block}.ffn_up", ffn, hidden, matrices)
        if arch in ("bitnet", "ifairy"):
            vector(f"{block}.ffn_sub_norm.weight", ffn, 1.0, 0.2)
        matrix(f"{block}.ffn_down", hidden, ffn, matrices)
    vector("output_norm.weight", hidden, 1.0, 0.2)
    if extras.get("untied"):
        matrix("output", VOCAB, hidden, matrices, gain=2.0)
    if extras.get("rope_factors"):
        writer.add_tensor("rope_freqs.weight", np.geomspace(1, 8, head_dim // 2).astype(np.float32))

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def token_ids():
    return np.random.default_rng(7).integers(0, VOCAB, SEQUENCE).tolist()


def write_steady_model(path, seed, *spec):
    """Writes the model of the first of these seeds whose gates stay as they are when the cache is rounded, at the
    positions that are kept."""
    for seed in range(seed, seed + 10_000, 100):
        write_model(path, seed, *spec)
        if spec[0] != "ifairy":
            return
        model, ids = ifairy.Model(path), token_ids()
        errors = [model.sensitivity(ids, rounding)[POSITIONS].max() for rounding in (ifairy.half, ifairy.int8)]
        if errors[0] < 1e-3 and errors[1] < 2e-2:
            return
    raise ValueError(f"{path.stem}: no steady model")


def write_logits(path):
    model = (ifairy.Model if path.stem.startswith("ifairy") else reference.Model)(path)
    ids = token_ids()
    logits = model.logits(ids)[POSITIONS]
    assert np.isfinite(logits).all()
    rows = {str(position): [round(float(x), 5) for x in row] for position, row in zip(POSITIONS, logits)}
    reference.dump_json({"ids": ids, "logits": rows}, path.with_suffix(".json"))
    return logits


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    total = 0
    for seed, (name, spec) in enumerate(MODELS.items()):
        path = OUT / f"{name}.gguf"
        write_steady_model(path, seed, *spec)
        logits = write_logits(path)
        total += path.stat().st_size
        print(f"{name:14} {path.stat().st_size:7} bytes, logits of standard deviation {logits.std():.2f}")
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
