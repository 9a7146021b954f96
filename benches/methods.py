#!/usr/bin/env python3
"""Every way to train weights in few bits, on the same text: held-out loss, file, speed.

All runs begin with the same random weights where their shape is the same, read the same tokens in the same order, and
take the same number of updates. The model that is judged is the one that training leaves: `halfpi pack` finds its codes
and scales in it, and refuses if a single weight would change.

Usage: benches/methods.py --halfpi target/release/halfpi --corpus DIR [--out DIR] [--updates N] [--only NAME,...]

DIR has chitchat.jsonl and tokenizer/ (`cargo xtask corpus`). Runs that are there already are not repeated, and one that
was stopped goes on, so the table can be made in stretches.
"""

import argparse
import json
import os
import subprocess
import sys
import time

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


def run(args, name, method, more):
    """The report of a run, made if it is not there."""
    directory = os.path.join(args.out, name)
    report = os.path.join(directory, "run.json")
    if not os.path.exists(report):
        command = [args.halfpi, "train", os.path.join(args.corpus, "chitchat.jsonl"), "--shape", args.shape]
        command += ["--tokenizer", os.path.join(args.corpus, "tokenizer"), "--method", method, "-o", directory]
        command += ["-n", str(args.updates), "--batch", str(args.batch), "--length", str(args.length)]
        command += ["--evaluate-every", str(max(args.updates // 10, 1)), "--held-out-batches", "16", "--json"]
        command += [] if "--rate" in more else ["--rate", args.rate]
        if os.path.exists(os.path.join(directory, "checkpoint.safetensors")):
            command.append("--resume")
        subprocess.run(command + more, check=True, stdout=subprocess.DEVNULL)
    with open(report, encoding="utf-8") as file:
        return json.load(file), os.path.getsize(os.path.join(directory, "model.gguf"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halfpi", required=True, help="the command, built with --features train")
    parser.add_argument("--corpus", required=True, help="directory of `cargo xtask corpus`")
    parser.add_argument("--out", default="target/methods", help="where runs are kept")
    parser.add_argument("--shape", default="micro")
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rate", default="2e-3")
    parser.add_argument("--only", help="names, separated by commas")
    args = parser.parse_args()
    only = args.only.split(",") if args.only else [name for name, *_ in METHODS]
    unknown = set(only) - {name for name, *_ in METHODS}
    if unknown:
        sys.exit(f"no such methods: {', '.join(sorted(unknown))}")

    rows, failures = [], []
    for name, what, method, more in METHODS:
        if name not in only:
            continue
        begun = time.time()
        try:
            report, size = run(args, name, method, more)
        except subprocess.CalledProcessError as error:
            # A method that diverges is a result too.
            failures.append(f"{what}: {error}")
            continue
        held_out = report["held_out"][-1][1]
        rows.append((what, held_out, size, report["tokens_per_second"], report["parameters"], report["tokens"]))
        print(f"{name}: {held_out:.4f} after {time.time() - begun:.0f} s", file=sys.stderr)

    if rows:
        print(f"{rows[0][4] / 1e6:.2f} million parameters, {rows[0][5] / 1e6:.2f} million tokens each\n")
    print("| method | held-out loss, nats a token | over AdamW in f32 | file, kB | tokens/s |")
    print("|---|--:|--:|--:|--:|")
    base = next((row[1] for row in rows if row[0] == METHODS[0][1]), None)
    for what, held_out, size, speed, _, _ in rows:
        over = f"{held_out - base:+.3f}" if base is not None else "–"
        print(f"| {what} | {held_out:.3f} | {over} | {size / 1e3:.0f} | {speed:.0f} |")
    for failure in failures:
        print(f"\nNot in the table: {failure}")


if __name__ == "__main__":
    main()
