#!/usr/bin/env python3
"""halfpi and llama.cpp side by side in one run: tokens a second of prefill (--prompt) and decode (--decode).

    benches/peers.py --model MODEL [--halfpi target/release/halfpi] [--threads 1,2] [--rounds 5] [--load] [--json FILE]
    benches/peers.py --shape SHAPE [--formats ternary,ternary-dense] [--head FORMAT]
                     [--peer-formats tq2_0,q4_0] [--peer-head FORMAT] …

With --model both read the same GGUF. With --shape they run random models of the same shape, each in its own formats:
`halfpi bench --shape SHAPE --format F --save` writes llama.cpp's (into target/peers), in types that llama.cpp reads.

Rounds alternate between the contenders, so that a change of the machine's mood meets both; medians are compared.
With --load everything is measured a second time while as many busy loops as there are cores run beside it.

llama.cpp comes as `xllamacpp` from PyPI (installed into target/peers-venv where this Python lacks it) and gets the best
of its settings: flash attention on and off are both measured (--flash) and the better median counts, as is
OMP_WAIT_POLICY=passive beside the default, which matters under load. Its model stays loaded and warm, nothing is cached
between requests, its sampler is greedy, and the figures are its server's own timings. The wheel's CPU features are
printed: it is built for AVX2, without AVX-512 or VNNI. Where halfpi is missing only llama.cpp is measured, and that is
said.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# With other work on the cores a spinning barrier can take a second a token: fewer tokens show it as well.
DECODE_SLOW, SLOW = 16, 10.0


def python_with_xllamacpp():
    """This interpreter if it has xllamacpp, else that of a virtual environment made for it."""
    if subprocess.run([sys.executable, "-c", "import xllamacpp"], capture_output=True).returncode == 0:
        return sys.executable
    directory = ROOT / "target" / "peers-venv"
    python = directory / "bin" / "python"
    if not python.exists():
        print(f"installing xllamacpp into {directory}", file=sys.stderr)
        venv.create(directory, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "xllamacpp"], check=True)
    return python


class LlamaCpp:
    """A llama.cpp that stays loaded in a process of its own and measures when asked."""

    def __init__(self, python, name, model, threads, flash, passive, lengths):
        env = os.environ | ({"OMP_WAIT_POLICY": "passive"} if passive else {})
        spec = {"model": str(model), "threads": threads, "flash": flash, "lengths": lengths}
        command = [python, __file__, "--worker", json.dumps(spec)]
        self.process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.model = name
        self.name = f"{name}, flash {'on' if flash else 'off'}{', passive' if passive else ''}"
        self.info = self.read()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # llama.cpp prints lines of its own
                return json.loads(line)
        raise RuntimeError(f"llama.cpp ended with status {self.process.wait()}")

    def measure(self, start):
        self.process.stdin.write(json.dumps({"start": start}) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def worker(spec):
    import xllamacpp

    prompt_tokens, decode_tokens = spec["lengths"]
    params = xllamacpp.CommonParams()
    params.model.path = spec["model"]
    params.n_ctx = 1024
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.n_batch = params.n_ubatch = prompt_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = spec["threads"]
    params.flash_attn_type = int(spec["flash"])
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    params.fit_params = False
    params.warmup = True
    params.verbosity = 0
    server = xllamacpp.Server(params)
    # Ids across the vocabulary of any model; what they say does not change the time.
    prompt = [100 + i * 7919 % 20000 for i in range(prompt_tokens)]
    greedy = dict(ignore_eos=True, temperature=0.0, samplers=["top_k"], top_k=1, cache_prompt=False, stream=False)

    def timings(ids, n):
        return server.handle_completions(greedy | dict(prompt=ids, n_predict=n))["timings"]

    timings(prompt, 8)
    print(json.dumps({"version": xllamacpp.__version__, "features": xllamacpp.get_system_info()}), flush=True)
    for line in sys.stdin:
        context = prompt[: max(json.loads(line)["start"], 1)]
        slow = timings(context, 4)["predicted_per_second"] < SLOW
        prefill, decode = timings(prompt, 1), timings(context, DECODE_SLOW if slow else decode_tokens)
        assert prefill["prompt_n"] == prompt_tokens, prefill
        result = {"prefill": prefill["prompt_per_second"], "decode": decode["predicted_per_second"]}
        print(json.dumps(result), flush=True)


def measure_halfpi(binary, subject, threads, more):
    command = [binary, "bench", *subject, "--threads", str(threads), "--json", *more]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "prefill": report["prefill_tokens_per_second"],
        "decode": report["decode_tokens_per_second"],
        # Positions in the KV cache when decoding begins.
        "start": report.get("decode_start_tokens", 0),
    }


def compare(args, python, threads):
    """Medians of every contender at this number of threads: {name: {prefill, decode}}."""
    policies = (False, True) if threads > 1 else (False,)
    peers = [
        LlamaCpp(python, name, model, threads, flash, passive, (args.prompt, args.decode))
        for name, model in args.peers.items()
        for flash in args.flash
        for passive in policies
    ]
    # A first run of each warms it; halfpi's also says where its decode begins, and llama.cpp is asked for the same.
    start = 0
    for subject in args.ours.values():
        start = measure_halfpi(args.halfpi, subject, threads, args.more)["start"]
    rounds = {}
    for n in range(args.rounds):
        for peer in peers if n % 2 else reversed(peers):
            rounds.setdefault(peer.name, []).append(peer.measure(start))
        for name, subject in args.ours.items():
            rounds.setdefault(name, []).append(measure_halfpi(args.halfpi, subject, threads, args.more))
    for peer in peers:
        peer.close()
    medians = {
        name: {key: statistics.median(result[key] for result in results) for key in ("prefill", "decode")}
        for name, results in rounds.items()
    }
    return medians, peers[0].info


def report(args, threads, loaded, medians):
    """Prints every pair of one of llama.cpp's models, at its best settings, and one of halfpi's."""
    state = "loaded" if loaded else "alone"
    rows = []
    for key in ("prefill", "decode"):
        for peer in args.peers:
            settings = (name for name in medians if name.startswith(f"{peer}, flash"))
            best = max(settings, key=lambda name: medians[name][key])
            row = {"threads": threads, "state": state, "what": key, "llama_cpp": medians[best][key], "settings": best}
            line = f"{state:7} threads {threads}  {key:8} llama.cpp {row['llama_cpp']:8.1f} ({best})"
            for name in args.ours:
                ours = medians[name][key]
                row = row | {"halfpi": ours, "format": name, "ratio": ours / row["llama_cpp"]}
                print(f"{line}  {name} {ours:8.1f}  ratio {row['ratio']:.2f}", flush=True)
                rows.append(row)
            if not args.ours:
                print(line, flush=True)
                rows.append(row)
    return rows


def choose_models(args, parser):
    """Fills in `args.ours`, what halfpi measures by name, and `args.peers`, the files of llama.cpp."""
    if args.model:
        args.peers = {args.model.stem: args.model}
        args.ours = {"halfpi": ["--model", args.model]} if args.halfpi else {}
        return
    if not args.halfpi:
        parser.error("--shape needs halfpi, which makes the models")
    head = ["--head", args.head] if args.head else []
    args.ours = {
        f"halfpi {name}": ["--shape", args.shape, "--format", name, *head] for name in args.formats.split(",")
    }
    args.peers = {}
    directory = ROOT / "target" / "peers"
    directory.mkdir(parents=True, exist_ok=True)
    for name in args.peer_formats.split(","):
        path = directory / f"{args.shape}-{name}-{args.peer_head}.gguf"
        if not path.exists():
            command = [args.halfpi, "bench", "--shape", args.shape, "--format", name, "--head", args.peer_head]
            subprocess.run([*command, "--save", path], check=True)
        args.peers[name] = path


def main():
    parser = argparse.ArgumentParser(description="halfpi and llama.cpp side by side: tokens a second")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--model", type=Path, help="a GGUF that both read")
    subject.add_argument("--shape", help="a shape of `halfpi bench --shape`")
    parser.add_argument("--formats", default="ternary", help="what halfpi stores a shape's matrices as")
    parser.add_argument("--head", help="what halfpi stores its embedding and head as")
    parser.add_argument("--peer-formats", default="tq2_0", help="the same for llama.cpp")
    parser.add_argument("--peer-head", default="q4_0")
    parser.add_argument("--halfpi-args", default="", help="further arguments of `halfpi bench`")
    parser.add_argument("--halfpi", type=Path, default=ROOT / "target" / "release" / "halfpi")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt [default: %(default)s]")
    parser.add_argument("--decode", type=int, default=128, help="tokens that are decoded [default: %(default)s]")
    parser.add_argument("--flash", choices=("off", "on", "both"), default="both", help="llama.cpp's flash attention")
    parser.add_argument("--load", action="store_true", help="measure again beside busy loops, one a core")
    parser.add_argument("--json", type=Path, help="also write the table here")
    args = parser.parse_args()
    if args.worker:
        return worker(json.loads(args.worker))
    if not args.shape and not (args.model and args.model.is_file()):
        parser.error(f"--model must name a GGUF file, not {args.model}; or name a --shape")
    if not args.halfpi.is_file():
        print(f"no halfpi at {args.halfpi} (cargo build --release -p halfpi-cli): measuring llama.cpp alone")
        args.halfpi = None
    args.more = args.halfpi_args.split()
    args.more += ["--prompt-tokens", str(args.prompt), "--decode-tokens", str(args.decode)]
    args.flash = {"off": (False,), "on": (True,), "both": (False, True)}[args.flash]
    choose_models(args, parser)

    python = python_with_xllamacpp()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the start")
    rows, described = [], False
    for loaded in (False, True) if args.load else (False,):
        busy = [sys.executable, "-c", "while True: pass"]
        loops = [subprocess.Popen(busy) for _ in range(os.cpu_count() if loaded else 0)]
        try:
            for threads in map(int, args.threads.split(",")):
                medians, info = compare(args, python, threads)
                if not described:
                    print(f"xllamacpp {info['version']}: {info['features']}")
                    described = True
                rows += report(args, threads, loaded, medians)
        finally:
            for loop in loops:
                loop.kill()
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
