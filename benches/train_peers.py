#!/usr/bin/env python3
"""Tokens a second of `halfpi train` and of PyTorch at the same work, in alternating rounds of one run.

    benches/train_peers.py --halfpi target/release/halfpi --corpus chats.jsonl --tokenizer DIR [--shape micro]
        [--batch 8] [--length 128] [--updates 40] [--rounds 3] [--threads 2] [--device cpu] [--precision f32]

Both train a llama of the same shape with AdamW, gradients cut to a norm of 1, in f32: once plainly, once with the ternary
weights of BitNet b1.58 in all linear layers (absmean, straight-through; embedding and output in floats, activations too:
what `--method ternary` means). PyTorch does it as its users write it: scaled_dot_product_attention, rms_norm,
cross_entropy, the fused AdamW. It is given random tokens; halfpi reads, shuffles and packs its corpus meanwhile, as it
always does. Each speed is that of --updates updates from the first; the best and the median of --rounds runs are
printed.

Needs the packages torch and numpy. With --device cuda this has not been run.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from torch import nn

# As `halfpi train --shape`: layers, channels, channels of the feed-forward network, heads, key heads.
SHAPES = {
    "nano": (2, 64, 192, 4, 2),
    "micro": (4, 128, 384, 4, 2),
    "mini": (6, 256, 768, 8, 4),
    "small": (12, 512, 1536, 8, 4),
}


class Ternary(nn.Linear):
    """BitNet b1.58's weights (arXiv:2402.17764, section 2), with the gradients of the float ones."""

    def forward(self, x):
        scale = self.weight.abs().mean().clamp_min(1e-5)
        quantized = (self.weight / scale).round().clamp(-1, 1) * scale
        return F.linear(x, self.weight + (quantized - self.weight).detach())


class Block(nn.Module):
    def __init__(self, linear, channels, inner, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.width = heads, kv_heads, channels // heads
        self.q, self.o = linear(channels, channels, bias=False), linear(channels, channels, bias=False)
        self.k, self.v = (linear(channels, kv_heads * self.width, bias=False) for _ in range(2))
        self.gate, self.up = (linear(channels, inner, bias=False) for _ in range(2))
        self.down = linear(inner, channels, bias=False)
        self.attention_norm, self.inner_norm = nn.RMSNorm(channels, 1e-5), nn.RMSNorm(channels, 1e-5)

    def forward(self, x, cos, sin):
        batch, length, channels = x.shape
        h = self.attention_norm(x)
        split = lambda x, heads: x.view(batch, length, heads, self.width).transpose(1, 2)
        turn = lambda x: x * cos + torch.cat((-x[..., self.width // 2 :], x[..., : self.width // 2]), -1) * sin
        q, k, v = turn(split(self.q(h), self.heads)), turn(split(self.k(h), self.kv_heads)), split(self.v(h), self.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, length, channels))
        h = self.inner_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, linear, vocabulary, length, shape):
        super().__init__()
        layers, channels, inner, heads, kv_heads = shape
        self.embedding = nn.Embedding(vocabulary, channels)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(linear, channels, inner, heads, kv_heads) for _ in range(layers))
        self.norm = nn.RMSNorm(channels, 1e-5)
        width = channels // heads
        angles = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embedding.weight)


def torch_speed(options, method, vocabulary):
    torch.manual_seed(0)
    linear = Ternary if method == "ternary" else nn.Linear
    model = Llama(linear, vocabulary, options.length, SHAPES[options.shape]).to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    is_mixed = options.precision == "bf16"
    tokens = torch.randint(vocabulary, (options.updates, options.batch, options.length + 1), device=options.device)
    begun = time.perf_counter()
    for batch in tokens:
        with torch.autocast(options.device, torch.bfloat16, enabled=is_mixed):
            logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
    return options.updates * options.batch * options.length / (time.perf_counter() - begun)


def halfpi_speed(options, method):
    with tempfile.TemporaryDirectory() as directory:
        command = [options.halfpi, "train", options.corpus, "--tokenizer", options.tokenizer, "--shape", options.shape]
        command += ["--method", method, "-n", str(options.updates), "--batch", str(options.batch)]
        command += ["--length", str(options.length), "--evaluate-every", "1000000", "--held-out-batches", "0"]
        command += ["--device", options.device, "-o", os.path.join(directory, "run"), "--json"]
        command += ["--precision", options.precision] if options.precision != "f32" else []
        environment = dict(os.environ, RAYON_NUM_THREADS=str(options.threads))
        output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        report = json.loads(output.stdout)
    layers, channels, inner, heads, kv_heads = SHAPES[options.shape]
    in_layers = channels * (2 * channels + 2 * channels // heads * kv_heads + 3 * inner + 2)
    vocabulary = (report["parameters"] - layers * in_layers - channels) // channels
    return report["tokens_per_second"], vocabulary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halfpi", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--shape", default="micro", choices=SHAPES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    speeds = {}
    for _ in range(options.rounds):
        for method in ["f32", "ternary"]:
            speed, vocabulary = halfpi_speed(options, method)
            speeds.setdefault((method, "halfpi"), []).append(speed)
            speeds.setdefault((method, "PyTorch"), []).append(torch_speed(options, method, vocabulary))
    print(f"{options.shape}, vocabulary {vocabulary}, {options.batch} x {options.length} tokens, {options.threads} threads, "
          f"{options.device}, products in {options.precision}, torch {torch.__version__}")
    print("| weights | | best, tokens/s | median |\n|---|---|---|---|")
    for (method, who), found in sorted(speeds.items()):
        print(f"| {method} | {who} | {max(found):.0f} | {statistics.median(found):.0f} |")


if __name__ == "__main__":
    main()
