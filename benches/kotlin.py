"""Tokens per second through Kotlin beside the Rust API, in turns: what the binding costs.

    cargo xtask bench-kotlin [--rounds 15]      # builds both sides and runs this

Both stream the same greedy answer with the same number of threads; it is checked that they do. The figure is the
engine's own, the time of the callbacks included, of the last of some answers: the JVM compiles while the first are made.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "Write a long story about a lighthouse."


def last_answer(command, text=""):
    out = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def classpath():
    """Kotlin's classes and what Maven has of their dependencies."""
    module = ROOT / "android/halfpi"
    with tempfile.NamedTemporaryFile("r") as file:
        subprocess.run(
            ["mvn", "-q", "-f", module / "pom.xml", "dependency:build-classpath", f"-Dmdep.outputFile={file.name}"],
            check=True,
        )
        return f"{module}/target/classes:{module}/target/test-classes:{file.read()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--answers", type=int, default=6, help="the last one counts")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target/release")
    args = parser.parse_args()

    chat = [args.target / "halfpi", "chat", "--model", args.model, "--json", "--temperature", "0"]
    chat += ["--repetition-penalty", "1", "--threads", str(args.threads), "--max-tokens", str(args.tokens)]
    java = ["java", f"-Djna.library.path={args.target}", "-cp", classpath(), "dev.halfpi.OverheadKt"]
    java += [args.model, str(args.threads), str(args.tokens), PROMPT, str(args.answers)]
    questions = "/reset\n".join(f"{PROMPT}\n" for _ in range(args.answers))
    rust, kotlin = [], []
    for _ in range(args.rounds):
        ours = last_answer(chat, questions)
        theirs = last_answer(java)
        if ours["text"] != theirs["text"]:
            raise SystemExit(f"not the same answer:\n{ours['text']}\n{theirs['text']}")
        rust.append(ours["decode_tokens_per_second"])
        kotlin.append(theirs["decode_tokens_per_second"])
    rust, kotlin = statistics.median(rust), statistics.median(kotlin)
    print(f"Rust {rust:.1f} tokens/s, Kotlin {kotlin:.1f} tokens/s: {100 * (1 - kotlin / rust):+.1f}% overhead")


if __name__ == "__main__":
    main()
