"""Tokens per second through Swift beside the Rust API, in turns: what the binding costs.

    cargo xtask bench-swift [--rounds 15]       # builds both sides and runs this

Both stream the same greedy answer with the same number of threads; it is checked that they do. The figure is the
engine's own, the time of the callbacks included, of a second answer.
"""

import argparse
import json
import shlex
import statistics
import subprocess

PROMPT = "Write a long story about a lighthouse."


def last_answer(command, text=""):
    out = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--halfpi", required=True, help="the command line program")
    parser.add_argument("--swift", required=True, help="the command that runs ios/Benchmarks/Overhead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    chat = [args.halfpi, "chat", "--model", args.model, "--json", "--temperature", "0"]
    chat += ["--repetition-penalty", "1", "--threads", str(args.threads), "--max-tokens", str(args.tokens)]
    swift = shlex.split(args.swift) + [args.model, str(args.threads), str(args.tokens), PROMPT]
    direct, through = [], []
    for _ in range(args.rounds):
        ours = last_answer(chat, f"{PROMPT}\n/reset\n{PROMPT}\n")
        theirs = last_answer(swift)
        if ours["text"] != theirs["text"]:
            raise SystemExit(f"not the same answer:\n{ours['text']}\n{theirs['text']}")
        direct.append(ours["decode_tokens_per_second"])
        through.append(theirs["decode_tokens_per_second"])
    direct, through = statistics.median(direct), statistics.median(through)
    print(f"Rust {direct:.1f} tokens/s, Swift {through:.1f} tokens/s: {100 * (1 - through / direct):+.1f}% overhead")


if __name__ == "__main__":
    main()
