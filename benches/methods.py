#!/usr/bin/env python3
"""Every way to train weights in few bits, on the same text: held-out loss, bits, memory, speed.

All runs begin with the same random weights where their shape is the same, read the same tokens in the same order, and
take the same number of updates. The model that is judged is the one that training leaves: `halfpi pack` finds its codes
and scales in it, and refuses if a single weight would change.

Usage: benches/methods.py --halfpi target/release/halfpi --corpus DIR [--out DIR] [--updates N] [--only NAME,...] [--speed]

DIR has chitchat.jsonl and tokenizer/ (`cargo xtask corpus`). Runs that are there already are not repeated, and one that
was stopped goes on, so the table can be made in stretches; one of other options is refused. A method that diverges is
named below the table; anything else that goes wrong is an error. Bits are those of the matrices in layers, scales
included. Memory is what the allocator counts in a run of three updates, after the first, each class at its own peak.
--speed times a few updates of each method apart, on a machine that does nothing else: without it, runs may share theirs.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time

import refusals

# 0.97 million parameters with a vocabulary of 4,096, 0.44 of them in layers.
SHAPE = {"architecture": "llama", "block_count": 3, "embedding_length": 128, "feed_forward_length": 256, "head_count": 4,
         "head_count_kv": 2, "context_length": 2048, "tied": True}
HEAD = "head=q8"

# name, what it is, method, other options
METHODS = [
    ("adamw", "f32, AdamW", "f32", []),
    ("sgd", "f32, SGD with momentum", "f32", ["--optimizer", "sgd", "--momentum", "0.9", "--rate", "0.1"]),
    ("ternary", "ternary, absmean (BitLinear)", f"ternary, {HEAD}", []),
    ("ternary-learned", "ternary, learned scale a row", f"ternary:learned:activations=token, {HEAD}", []),
    ("seq", "2 bits, learned scale a row (SEQ)", f"halfpi2:learned:activations=token, {HEAD}", []),
    ("halfpi4", "π/2 integers of 4 bits", f"halfpi4, {HEAD}", []),
    ("phase-t1", "phases, widely linear, T = 1", f"phase-t1, {HEAD}", []),
    ("phase-t2", "phases, widely linear, T = 2", f"phase-t2, {HEAD}", []),
    ("phase-complex", "phases, native complex", f"phase-complex, {HEAD}", ["--architecture", "ifairy"]),
    ("phase-magnitude", "fixed phases, trained magnitudes", f"phase-magnitude, {HEAD}", []),
    ("phi4", "φ ladder", f"phi4, {HEAD}", []),
    ("phi4-additive", "additive φ", f"phi4-additive, {HEAD}", []),
    ("phi5", "√φ", f"phi5, {HEAD}", []),
]
for every in (1, 10, 50, 100):
    METHODS.append((f"vote-{every}-stated", f"vote and commit of int8, N = {every}, as stated", f"halfpi8, {HEAD}",
                    ["--vote", str(every), "--as-stated"]))
    METHODS.append((f"vote-{every}", f"vote and commit of int8, N = {every}, improved", f"halfpi8, {HEAD}",
                    ["--vote", str(every)]))
METHODS.append(("vote-10-ternary", "vote and commit of ternary weights, N = 10, improved", f"ternary, {HEAD}",
                ["--vote", "10"]))


# How `halfpi train` ends when a method does not learn, which is a result too.
DIVERGED = r"^error: (update \d+: .*(training has diverged|is not finite)|the gradient of \S+ is (NaN|-?inf) )"

CLASSES = ["weights", "gradients", "votes", "optimizer", "other"]


def run(args, name, method, more, updates):
    """The report of a run, made if it is not there."""
    directory = os.path.join(args.out, name)
    report = os.path.join(directory, "run.json")
    checkpoint = os.path.join(directory, "checkpoint.safetensors")
    wanted = asked(args, more, updates)
    if os.path.exists(report):
        with open(report, encoding="utf-8") as file:
            compare(directory, json.load(file)["options"], wanted)
    else:
        if os.path.exists(checkpoint):
            compare(directory, of_checkpoint(checkpoint), wanted)
        command = [args.halfpi, "train", os.path.join(args.corpus, "chitchat.jsonl"), "--shape", args.shape]
        command += ["--tokenizer", os.path.join(args.corpus, "tokenizer"), "--method", method, "-o", directory]
        command += ["-n", str(updates), "--batch", str(args.batch), "--length", str(args.length)]
        command += ["--evaluate-every", str(max(updates // 10, 1)), "--held-out-batches", "16", "--json"]
        command += [] if "--rate" in more else ["--rate", args.rate]
        if os.path.exists(checkpoint):
            command.append("--resume")
        refusals.run(command + more, DIVERGED)
    with open(report, encoding="utf-8") as file:
        return json.load(file)


def asked(args, more, updates):
    """What a run is asked for, of what the options of this script and of the method say."""
    with open(args.shape, encoding="utf-8") as file:
        shape = json.load(file)
    options = dict(zip(more[::2], more[1::2]))
    if "--architecture" in options:
        shape["architecture"] = options["--architecture"]
    return {"--updates": updates, "--batch": args.batch, "--length": args.length,
            "--rate": float(options.get("--rate", args.rate)), "--shape": shape}


def compare(directory, options, wanted):
    """Refuses a run that is there, but is not the one that is asked for."""
    shape = options["start"]["new"]["shape"]
    found = {"--updates": options["schedule"]["updates"], "--batch": options["batch"], "--length": options["length"],
             "--rate": options["schedule"]["stages"][0]["rate"],
             "--shape": {key: shape.get(key) for key in wanted["--shape"]}}
    # Rates are kept in single precision.
    is_same = {option: value == found[option] for option, value in wanted.items()}
    is_same["--rate"] = math.isclose(wanted["--rate"], found["--rate"], rel_tol=1e-6)
    others = [f"{option} {found[option]}, not {wanted[option]}" for option in wanted if not is_same[option]]
    if others:
        sys.exit(f"error: {directory} is a run of {', '.join(others)}: choose another --out, or delete it")


def of_checkpoint(path):
    """The options of the run that a checkpoint is of."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return json.loads(header["__metadata__"]["halfpi.train"])["run"]


def packed(args, name):
    """Bytes of a run's model, and bits of a weight in its layers."""
    path = os.path.join(args.out, name, "model.gguf")
    inspected = subprocess.run([args.halfpi, "inspect", path, "--json"], check=True, capture_output=True).stdout
    tensors = json.loads(inspected)["tensors"]
    layers = [tensor for tensor in tensors if tensor["name"].startswith("blk.") and len(tensor["shape"]) > 1]
    weights = sum(tensor["shape"][0] * tensor["shape"][1] for tensor in layers)
    return os.path.getsize(path), 8 * sum(tensor["bytes"] for tensor in layers) / weights


def row(args, name, what, method, more):
    """The cells of a method, but for what its loss is over that of another one."""
    report = run(args, name, method, more, args.updates)
    size, bits = packed(args, name)
    short = run(args, os.path.join("memory", name), method, more, 3)
    by_class = dict(short["memory"]["by_class"])
    memory = [by_class[label] for label in CLASSES] + [short["memory"]["peak"]]
    cells = [f"{bits:.2f}", f"{size / 1e3:.0f}"] + [f"{peak / 1e6:.1f}" for peak in memory]
    if args.speed:
        timed = run(args, os.path.join("speed", name), method, more, 30)
        cells.append(f"{timed['tokens_per_second']:.0f}")
    return what, report, cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halfpi", required=True, help="the command, built with --features train")
    parser.add_argument("--corpus", required=True, help="directory of `cargo xtask corpus`")
    parser.add_argument("--out", default="target/methods", help="where runs are kept")
    parser.add_argument("--shape", help="a file with a shape of halfpi train [default: 3 layers of 128 channels]")
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rate", default="2e-3")
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--speed", action="store_true", help="time 30 updates of each method too")
    args = parser.parse_args()
    only = args.only.split(",") if args.only else [name for name, *_ in METHODS]
    unknown = set(only) - {name for name, *_ in METHODS}
    if unknown:
        sys.exit(f"no such methods: {', '.join(sorted(unknown))}")

    os.makedirs(args.out, exist_ok=True)
    if args.shape is None:
        args.shape = os.path.join(args.out, "shape.json")
        with open(args.shape, "w", encoding="utf-8") as file:
            json.dump(SHAPE, file)

    rows, failures = [], []
    for name, what, method, more in METHODS:
        if name not in only:
            continue
        begun = time.time()
        try:
            rows.append(row(args, name, what, method, more))
        except refusals.Refused as error:
            failures.append(f"{what}: {error}")
            continue
        print(f"{name}: {loss(rows[-1][1]):.4f} after {time.time() - begun:.0f} s", file=sys.stderr)

    if rows:
        first = rows[0][1]
        print(f"{first['parameters'] / 1e6:.2f} million parameters, {first['tokens'] / 1e6:.2f} million tokens each\n")
    titles = ["method", "held-out loss, nats a token", "over AdamW in f32", "bits a weight", "file, kB"]
    titles += [f"{label}, MB" for label in CLASSES[:-1] + ["the rest", "peak"]] + ["tokens/s"] * args.speed
    print(f"| {' | '.join(titles)} |\n|---|{'--:|' * (len(titles) - 1)}")
    base = next((loss(report) for what, report, _ in rows if what == METHODS[0][1]), None)
    for what, report, cells in rows:
        over = f"{loss(report) - base:+.3f}" if base is not None else "–"
        print(f"| {' | '.join([what, f'{loss(report):.3f}', over] + cells)} |")
    for failure in failures:
        print(f"\nNot in the table: {failure}")


def loss(report):
    """Held-out, at the end."""
    return report["held_out"][-1][1]


if __name__ == "__main__":
    main()
