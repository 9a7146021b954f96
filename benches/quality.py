#!/usr/bin/env python3
"""What packing a model costs: Q4_0 and IQ4_NL of llama.cpp and halfpi's formats, with error feedback off and on.

    pip install numpy gguf
    benches/quality.py --model SOURCE.gguf [--halfpi target/release/halfpi] [--rows phi5,phi4-additive] [--json FILE]

Every row is made from the same source, with the embedding (which is the output matrix too) at 8 bits in all of them, so
that only the linear layers differ, and compared with it on tests/reference/texts: prose, chat and code, a window each.
Printed is a Markdown table of the file's size, how much the mean negative log-likelihood rises (the logarithm of the
perplexity ratio, in nats), and the mean Kullback-Leibler divergence from the source's predictions. The texts have 2,178
positions, so that a difference of 0.01 nats means nothing; the divergence is steadier. Q4_0 is quantized by the gguf
package; IQ4_NL, which that only reads, by the formulas of llama.cpp's `quantize_row_iq4_nl_impl` in numpy.

The calibration text is not the one that is judged (long lines in common are refused, but for the chat template's own):
answers of the source model itself to calibration/prompts.txt, with fixed seeds, and some of this repository's own prose
and code. It is written to --work, where a row that is there already is not packed again, and a file that was judged
already is not judged again.
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

import refusals

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("prose", "chat", "code")
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
DOCUMENTS = ["ARCHITECTURE.md", *(f"docs/adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("*.md")))]
CODE = ["core/src/stop.rs", "core/src/gguf/reader.rs", "core/src/sampler/mod.rs", "benches/peers.py"]
PEERS = {"Q4_0": gguf.GGMLQuantizationType.Q4_0, "IQ4_NL": gguf.GGMLQuantizationType.IQ4_NL}
FORMATS = ("phi4", "phi4-additive", "phi5", "phi5-additive", "ternary")
ROWS = [*PEERS, *(name + on for name in FORMATS for on in ("", " + feedback"))]
# How `halfpi pack` ends when a format loses more than any right scale would.
LOST = r"^error: .* take the loss with --allow-loss"
IQ4_NL = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def calibration_text(args):
    """The model's own answers, this repository's prose and its code."""
    path = args.work / "calibration.txt"
    if not path.exists():
        parts = []
        prompts = (ROOT / "benches/calibration/prompts.txt").read_text(encoding="utf-8").splitlines()
        for seed, prompt in enumerate(prompts, 1):
            print(f"\ranswer {seed} of {len(prompts)}", end="", file=sys.stderr)
            command = [args.halfpi, "chat", "--model", args.model, "--prompt", prompt, "--seed", str(seed)]
            command += ["--temperature", "0.8", "--max-tokens", "400"]
            chat = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL)
            turns = (("system", SYSTEM), ("user", prompt), ("assistant", chat.stdout))
            parts.append("".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns))
        print(file=sys.stderr)
        parts += [(ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS + CODE]
        path.write_text("\n\n".join(parts), encoding="utf-8")
    lines = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
    for name in TEXTS:
        for line in text_path(name).read_text(encoding="utf-8").splitlines():
            if len(line.strip()) > 40 and line.strip() in lines and not line.startswith(SYSTEM):
                sys.exit(f"{path} and the text {name} have a line in common: {line.strip()!r}")
    return path


def text_path(name):
    return ROOT / "tests/reference/texts" / f"{name}.txt"


def iq4_nl(weights):
    """Blocks of IQ4_NL as llama.cpp makes them without an importance matrix: every weight counts as its own square, and
    of 15 scales around the one that puts the largest weight at the end of the table the best is taken."""
    x = weights.astype(np.float32).reshape(-1, 32)
    largest = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)[:, 0]
    present = np.abs(largest) > 1e-15
    safe = np.where(present, largest, 1)
    middle = (IQ4_NL[1:] + IQ4_NL[:-1]) / 2
    importance = x * x

    def fit(inverse):
        levels = IQ4_NL[np.searchsorted(middle, x * inverse[:, None])]
        return (importance * levels * x).sum(axis=1), (importance * levels * levels).sum(axis=1)

    dot, norm = fit(-IQ4_NL[0] / safe)
    scale = dot / np.maximum(norm, 1e-30)
    best = scale * dot
    for attempt in range(-7, 8):
        dot, norm = fit((attempt + IQ4_NL[0]) / safe)
        better = (norm > 0) & (dot * dot > best * norm)
        scale = np.where(better, dot / np.maximum(norm, 1e-30), scale)
        best = np.where(better, scale * dot, best)
    scale = np.where(present, scale, 0)
    inverse = np.where(scale != 0, 1 / np.where(scale != 0, scale, 1), 0)
    codes = np.searchsorted(middle, x * inverse[:, None]).astype(np.uint8)
    blocks = np.empty((len(x), 18), np.uint8)
    blocks[:, :2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    blocks[:, 2:] = codes[:, :16] | codes[:, 16:] << 4
    return blocks.reshape(weights.shape[0], -1)


def write_peer(source, kind, path):
    """The source with its layers in one of llama.cpp's types and the embedding in Q8_0."""
    reader = gguf.GGUFReader(source)
    metadata = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    writer = gguf.GGUFWriter(path, metadata.pop("general.architecture").contents())
    for key, field in metadata.items():
        if key not in ("general.file_type", "general.alignment"):
            element = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], element)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if weights.ndim == 1:
            writer.add_tensor(tensor.name, weights)
            continue
        to = kind if tensor.name.startswith("blk.") else gguf.GGMLQuantizationType.Q8_0
        packed = iq4_nl(weights) if to == PEERS["IQ4_NL"] else gguf.quants.quantize(weights, to)
        writer.add_tensor(tensor.name, packed, raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def pack(args, row, path):
    if row in PEERS:
        write_peer(args.model, PEERS[row], path)
        return
    name, _, feedback = row.partition(" + ")
    command = [args.halfpi, "pack", args.model, "--format", name, "--head", "q8", "-o", path]
    if feedback:
        command += ["--calibrate", calibration_text(args), "--calibrate-tokens", str(args.tokens)]
    if args.threads:
        command += ["--threads", str(args.threads)]
    refusals.run(command, LOST)


def measure(args, path):
    """What the predictions on each text lose; of the same files only once."""
    cache = args.work / "figures.json"
    figures = json.loads(cache.read_text()) if cache.exists() else {}
    files = (args.model, path, *map(text_path, TEXTS))
    key = " ".join([args.activations, *(hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files)])
    if key not in figures:
        figures[key] = compare(args, path)
        cache.write_text(json.dumps(figures, indent=1) + "\n")
    return figures[key]


def compare(args, path):
    result = {"bytes": path.stat().st_size}
    for name in TEXTS:
        command = [args.halfpi, "eval", "compare", "--model", path, "--reference", args.model, "--json"]
        command += ["--text", text_path(name), "--context", "1024"]
        command += ["--activations", args.activations, "--reference-activations", args.activations]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        result[name] = math.log(report["perplexity"] / report["reference_perplexity"])
        result[f"{name}_kl"] = report["kl_divergence"]
    for key, names in (("mean", TEXTS), ("kl", [f"{name}_kl" for name in TEXTS])):
        result[key] = sum(result[name] for name in names) / len(names)
    return result


def keep_to_one_model(args):
    """Files in --work have the names of rows, which do not say what they were made from."""
    with args.model.open("rb") as file:
        model = hashlib.file_digest(file, "sha256").hexdigest()
    known = args.work / "model.sha256"
    if not known.exists():
        known.write_text(model + "\n")
    elif known.read_text().strip() != model:
        sys.exit(f"{args.work} has what was made of another model: give another --work")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the source: a GGUF that halfpi runs")
    parser.add_argument("--halfpi", type=Path, default=ROOT / "target/release/halfpi")
    parser.add_argument("--rows", default=",".join(ROWS), help="separated by commas [default: %(default)s]")
    parser.add_argument("--activations", choices=("int8", "f32"), default="int8", help="f32 is many times slower")
    parser.add_argument("--work", type=Path, default=ROOT / "target/quality", help="where files are made")
    parser.add_argument("--tokens", type=int, default=16384, help="of the calibration text [default: %(default)s]")
    parser.add_argument("--threads", type=int, help="that pack [default: all]")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    rows = args.rows.split(",")
    for row in rows:
        if row not in ROWS:
            parser.error(f"there is no row {row!r}; there are {', '.join(ROWS)}")
    args.work.mkdir(parents=True, exist_ok=True)
    keep_to_one_model(args)

    results = {}
    print("| | file | prose | chat | code | mean | divergence |\n|---|---|---|---|---|---|---|")
    for row in rows:
        tokens = f"-{args.tokens}" if "feedback" in row else ""
        path = args.work / f"{row.replace(' + ', '-')}{tokens}.gguf"
        if not path.exists():
            # Appears when it is complete, so that an interrupted run leaves nothing half done.
            part = path.with_suffix(".part")
            try:
                pack(args, row, part)
            except refusals.Refused:
                # What it loses is in the error that it printed.
                print(f"| {row} | refused | | | | | |", flush=True)
                continue
            part.rename(path)
        results[row] = figures = measure(args, path)
        rises = " | ".join(f"{figures[name]:+.3f}" for name in (*TEXTS, "mean"))
        print(f"| {row} | {figures['bytes'] / 1e6:.1f} MB | {rises} | {figures['kl']:.3f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
