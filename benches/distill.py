#!/usr/bin/env python3
"""Distils a model into few bits in stretches of some minutes, each from the files that the last one left.

    benches/distill.py split FILE DIR          a file as pieces of at most 16 MiB, with their SHA-256
    benches/distill.py join DIR FILE           and back, if every piece is what it was
    benches/distill.py stretch --halfpi H --teacher DIR --corpus DIR --state DIR --method M [--minutes 8] [-- OPTION ...]

A stretch joins the teacher's pieces, goes on from what the last one left in --state (or begins), trains for so many
minutes, and leaves the run in --state again, in pieces. It prints what is done; when everything is, --state has the
packed model and the report too. Everything after -- goes to `halfpi train`.

For SmolLM2 into ternary weights and into phases of two stages, on a GPU:

    benches/distill.py split SmolLM2-135M-Instruct.Q4_1.gguf pieces
    benches/distill.py stretch --halfpi target/release/halfpi --teacher pieces --corpus CORPUS --state ternary \\
        --method 'ternary:learned, head=q8' -- --device cuda -n 4000 --batch 16 --length 512 --rate 3e-4
    benches/distill.py stretch ... --state phase-t2 --method 'phase-t2, head=q8' -- ...

repeated until it says that the run is complete. The teacher of that file is a model of 4 bits that was turned into floats
again, so the student can be no better than that. This has run on a CPU with small models, and on no GPU.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

PIECE = 16 << 20
MANIFEST = "pieces.json"
# What a run is made of: the first is there from the first checkpoint on, the others at the end.
FILES = ["checkpoint.safetensors", "model.gguf", "run.json", "index.html"]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def write_whole(path, data):
    """A file that is there whole or not at all."""
    part = f"{path}.part"
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def split(path, directory):
    """The pieces of a file; those that are there already, and the same, stay."""
    os.makedirs(directory, exist_ok=True)
    manifest = {"name": os.path.basename(path), "bytes": os.path.getsize(path), "pieces": []}
    with open(path, "rb") as file:
        while data := file.read(PIECE):
            name, sha256 = f"{len(manifest['pieces']):05}", digest(data)
            manifest["pieces"].append({"name": f"{name}-{sha256[:16]}", "sha256": sha256})
            piece = os.path.join(directory, manifest["pieces"][-1]["name"])
            if not os.path.exists(piece):
                write_whole(piece, data)
    # From now on the new pieces count; the old ones are nobody's.
    write_whole(os.path.join(directory, MANIFEST), json.dumps(manifest, indent=1).encode())
    known = {piece["name"] for piece in manifest["pieces"]} | {MANIFEST}
    for name in set(os.listdir(directory)) - known:
        os.remove(os.path.join(directory, name))


def join(directory, path):
    """The file that the pieces were."""
    with open(os.path.join(directory, MANIFEST), encoding="utf-8") as file:
        manifest = json.load(file)
    part = f"{path}.part"
    with open(part, "wb") as file:
        for piece in manifest["pieces"]:
            with open(os.path.join(directory, piece["name"]), "rb") as source:
                data = source.read()
            if digest(data) != piece["sha256"]:
                sys.exit(f"{directory}/{piece['name']} is damaged: get it again")
            file.write(data)
    if os.path.getsize(part) != manifest["bytes"]:
        sys.exit(f"{directory} does not make {manifest['bytes']} bytes")
    os.replace(part, path)


def stretch(args):
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        run = os.path.join(scratch, "run")
        os.makedirs(run)
        join(args.teacher, os.path.join(scratch, "teacher.gguf"))
        state = {name: os.path.join(args.state, name) for name in FILES}
        # Paths are among the options that a run is known by: so they are the same in every stretch.
        text = os.path.abspath(os.path.join(args.corpus, "chitchat.jsonl"))
        command = [os.path.abspath(args.halfpi), "train", text, "-o", "run"]
        command += ["--from", "teacher.gguf", "--teacher", "teacher.gguf", "--method", args.method]
        command += ["--minutes", str(args.minutes), "--checkpoint-every", "1000000", *args.options]
        if os.path.exists(os.path.join(state[FILES[0]], MANIFEST)):
            join(state[FILES[0]], os.path.join(run, FILES[0]))
            command.append("--resume")
        subprocess.run(command, check=True, cwd=scratch)
        for name in FILES:
            path = os.path.join(run, name)
            if os.path.exists(path):
                split(path, state[name])
        is_complete = os.path.exists(os.path.join(run, "model.gguf"))
    print("complete" if is_complete else "to be continued: run the same again")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, first, second in [("split", "file", "directory"), ("join", "directory", "file")]:
        command = commands.add_parser(name)
        command.add_argument(first)
        command.add_argument(second)
    run = commands.add_parser("stretch")
    run.add_argument("--halfpi", required=True, help="the command, built with --features cuda, or train")
    run.add_argument("--teacher", required=True, help="directory of the teacher's pieces")
    run.add_argument("--corpus", required=True, help="directory of `cargo xtask corpus`")
    run.add_argument("--state", required=True, help="directory of what one stretch leaves for the next")
    run.add_argument("--method", required=True)
    run.add_argument("--minutes", type=float, default=8.0)
    run.add_argument("--scratch", help="where whole files lie meanwhile")
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    args = parser.parse_args(arguments)
    args.options = options
    if args.command == "split":
        split(args.file, args.directory)
    elif args.command == "join":
        join(args.directory, args.file)
    else:
        stretch(args)


if __name__ == "__main__":
    main()
