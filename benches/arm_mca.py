#!/usr/bin/env python3
"""What the aarch64 kernels cost, estimated: instructions counted in the compiled inner loops, cycles by llvm-mca.

Nothing here runs on an Arm processor. llvm-mca knows the pipelines as LLVM's scheduling models describe them, takes all
loads for hits in the first-level cache and all branches for predicted. Compare loops with it; do not expect the figures
on a phone.

    cargo bench -p halfpi-kernels --bench kernels --target aarch64-unknown-linux-gnu --no-run
    benches/arm_mca.py target/aarch64-unknown-linux-gnu/release/deps/kernels-HASH --mca llvm-mca-22 \\
        --ggml PATH/TO/llama.cpp --bitnet PATH/TO/BitNet

Needs binutils for aarch64 (aarch64-linux-gnu-objdump and -addr2line), llvm-mca (the figures in docs/arm.md are of LLVM
22; cortex-a720 and cortex-x4 came with 18; a processor that it does not know gets no figure), and for the peers
aarch64-linux-gnu-gcc and -g++. No Python packages.

A loop's format is found by the debug information: the functions that were inlined into it. What a loop does is counted in
multiplications with weights of the real matrix ("weights" below): an sdot has 16, an smmla 32, an smlal 8.
"""

import argparse
import collections
import concurrent.futures
import functools
import pathlib
import re
import subprocess
import sys
import tempfile

CPUS = ["cortex-a55", "cortex-a510", "cortex-a720", "cortex-x1", "cortex-x4", "neoverse-n1"]
# What each format's function is called, its name in the table, and its bits for each weight of the real matrix.
FORMATS = {
    "dot2": ("T2 (2 bits)", 2),
    "dot_trits": ("ternary, dense", 5 / 3),
    "dot4": ("4 bits", 4),
    "dot5": ("5 bits", 5),
    "dot6": ("6 bits", 6),
    "dot8": ("8 bits", 8),
    "dot_pair<1": ("phase pairs, T=1", 1),
    "dot_pair<2": ("phase pairs, T=2", 2),
    "dot_phases": ("phase, axis", 1),
    "dot_axis": ("phase, magnitudes", 4.5),
    "dot_complex": ("phase, complex", 0.5),
}
# The same of llama.cpp's and bitnet.cpp's functions; bits with the block's scale.
PEERS = {
    "ggml_vec_dot_tq2_0_q8_K": ("llama.cpp TQ2_0", 66 * 8 / 256),
    "ggml_vec_dot_tq1_0_q8_K": ("llama.cpp TQ1_0", 54 * 8 / 256),
    "ggml_vec_dot_q4_0_q8_0": ("llama.cpp Q4_0", 4.5),
    "ggml_vec_dot_iq4_nl_q8_0": ("llama.cpp IQ4_NL", 4.5),
    # What llama.cpp takes where it may repack those two at load.
    "ggml_gemv_q4_0_4x4_q8_0": ("llama.cpp Q4_0, repacked", 4.5),
    "ggml_gemv_iq4_nl_4x4_q8_0": ("llama.cpp IQ4_NL, repacked", 4.5),
    "ggml_vec_dot_i2_i8_s_1x1": ("bitnet.cpp I2_S, a row", 2),
    "ggml_vec_dot_i2_i8_s_1xN": ("bitnet.cpp I2_S, rows side by side", 2),
    "ggml_vec_dot_i2_i8_s_Nx1": ("prefill, bitnet.cpp I2_S", 2),
}
MULTIPLICATIONS = {"sdot": 16, "usdot": 16, "smmla": 32, "smlal": 8, "smlal2": 8, "smull": 8, "smull2": 8}
# Multiplications of bytes: only those with byte operands are weights' products.
BYTES = re.compile(r"\.(8b|16b|4b)")
MARCH = {"neon": "+neon", "dotprod": "+dotprod", "i8mm": "+dotprod,+i8mm"}

Instruction = collections.namedtuple("Instruction", "address mnemonic operands target")
Loop = collections.namedtuple("Loop", "instructions weights")


def output(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options).stdout


def disassemble(binary, symbol):
    """The function's instructions in order. `symbol` is a demangled name."""
    text = output("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", "-C", f"--disassemble={symbol}", binary)
    instructions = []
    for line in text.splitlines():
        match = re.match(r"\s+([0-9a-f]+):\t(\S+)\s*(.*)", line)
        if not match:
            continue
        address, mnemonic, operands = int(match[1], 16), match[2], re.sub(r"\s*(//|;).*", "", match[3])
        target = None
        if re.match(r"(b|b\.\w+|cbn?z|tbn?z)$", mnemonic):
            target = int(re.search(r"([0-9a-f]+) <", operands)[1], 16)
        instructions.append(Instruction(address, mnemonic, re.sub(r"\s*<.*>", "", operands), target))
    return instructions


def multiplications(instruction):
    if BYTES.search(instruction.operands):
        return MULTIPLICATIONS.get(instruction.mnemonic, 0)
    return 0


def innermost_loops(instructions):
    """Every way once round each loop that has multiplications and no loop within."""
    index = {instruction.address: i for i, instruction in enumerate(instructions)}
    ends = collections.defaultdict(set)
    for i, instruction in enumerate(instructions):
        head = index.get(instruction.target)
        if head is not None and head <= i:
            ends[head].add(i)
    for head in ends:
        ways = []
        walk(instructions, index, ends, head, head, [], ways)
        for way in ways:
            loop = [instructions[i] for i in way]
            weights = sum(map(multiplications, loop))
            if weights:
                yield Loop(loop, weights)


def walk(instructions, index, ends, head, i, way, ways):
    """Collects the ways forward from `i` to an end of the loop that begins at `head`."""
    way = list(way)
    while i < len(instructions) and len(ways) < 64:
        if i != head and i in ends and ends[i] & set(range(i, max(ends[head]) + 1)):
            return
        way.append(i)
        instruction = instructions[i]
        if instruction.mnemonic == "ret":
            return
        if instruction.target is not None:
            to = index.get(instruction.target)
            if to == head:
                ways.append(way)
                return
            if to is not None and i < to <= max(ends[head]):
                walk(instructions, index, ends, head, to, way, ways)
            if instruction.mnemonic == "b":
                return
        i += 1


class Inlined:
    """Names of the functions that an instruction came from, the innermost first."""

    def __init__(self, binary, instructions):
        addresses = "\n".join(hex(instruction.address) for instruction in instructions)
        text = output("aarch64-linux-gnu-addr2line", "-e", binary, "-f", "-i", "-a", "-C", input=addresses)
        self.names, lines = {}, iter(text.splitlines())
        for line in lines:
            if line.startswith("0x"):
                names = self.names[int(line, 16)] = []
            else:
                names.append(line)
                next(lines)

    def function(self, loop, wanted):
        """Which of the functions `wanted` most multiplications of the loop came from."""
        votes = collections.Counter()
        for instruction in filter(multiplications, loop.instructions):
            votes.update({w for name in self.names[instruction.address] for w in wanted if matches(name, w)})
        return votes.most_common(1)[0][0] if votes else None


def matches(name, wanted):
    base, _, argument = wanted.partition("<")
    generic = re.match(r"(\w+)<(.*)>$", name)
    if not generic or generic[1] != base:
        return name == base
    return not argument or argument in generic[2].split(", ")


def is_simd(instruction):
    return re.match(r"[vq]\d|\{v", instruction.operands) and not is_load(instruction)


def is_load(instruction):
    return re.match(r"ld", instruction.mnemonic)


def is_spill(instruction):
    """Whether it has to do with the stack, directly or by an address in another register."""
    return re.search(r"\bsp\b", instruction.operands)


def cycles(mca, loop, features, cpu):
    """Of one iteration, in the steady state; None if this llvm-mca does not know the processor."""
    lines = []
    for instruction in loop.instructions:
        if instruction.target is None:
            lines.append(f"{instruction.mnemonic} {instruction.operands}")
    # The branch back is the only one that is taken; its target does not matter.
    lines.append("b.ne .")
    with tempfile.NamedTemporaryFile("w", suffix=".s") as source:
        source.write("\n".join(lines) + "\n")
        source.flush()
        command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-mattr={features}", "-iterations=200", source.name]
        run = subprocess.run(command, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", run.stdout)
    if not total:
        print(f"{mca}, {cpu}: {run.stderr.strip().splitlines()[:1]}", file=sys.stderr)
        return None
    return int(total[1]) / 200


def row(arguments, name, bits, loop, features):
    """A row of the table."""
    per_64 = 64 / loop.weights
    count = lambda kind: sum(1 for instruction in loop.instructions if kind(instruction)) * per_64
    cells = [f"{count(is_simd):.1f}", f"{count(is_load):.1f}", f"{len(loop.instructions) * per_64:.1f}"]
    spills = count(is_spill)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for found in pool.map(functools.partial(cycles, arguments.mca, loop, features), CPUS):
            if found is None:
                cells.append("–")
            else:
                cells.append(f"{found * per_64:.1f} ({loop.weights * bits / 8 / found:.1f})")
    note = f" [{spills:.1f} on the stack]" if arguments.spills and spills else ""
    print(f"| {name}{note} | " + " | ".join(cells) + " |")
    if arguments.loops:
        for instruction in loop.instructions:
            print(f"    {instruction.address:x}: {instruction.mnemonic} {instruction.operands}")


def own(arguments):
    # One position is the same code with i8mm as with dotprod.
    for backend, functions in [("neon", ["matvec", "columns"]), ("dotprod", ["matvec", "columns"]), ("i8mm", ["columns"])]:
        for function in functions:
            symbol = f"halfpi_kernels::arch::aarch64::{backend}::KERNELS::{function}"
            instructions = disassemble(arguments.binary, symbol)
            inlined = Inlined(arguments.binary, instructions)
            best = {}
            for loop in innermost_loops(instructions):
                scaled = any(instruction.mnemonic == "fmul" for instruction in loop.instructions)
                halves = any(instruction.mnemonic.startswith("fcvtl") for instruction in loop.instructions)
                if scaled and not halves:
                    continue
                if function == "columns":
                    found = inlined.function(loop, ["dot_columns", "dot_two"])
                    if not found or scaled:
                        continue
                    key = (f"prefill, {backend}", False)
                    better = lambda a, b: a.weights > b.weights
                else:
                    found = inlined.function(loop, FORMATS)
                    if not found or inlined.function(loop, ["dot_columns"]):
                        continue
                    key = (found, scaled)
                    # The way without what is rare (minima) is the shortest.
                    better = lambda a, b: len(a.instructions) * b.weights < len(b.instructions) * a.weights
                if key not in best or better(loop, best[key]):
                    best[key] = loop
            for (found, scaled), loop in sorted(best.items(), key=lambda item: (item[0][1], order(item[0][0]))):
                name, bits = FORMATS.get(found, (found, 8))
                if scaled:
                    # An f16 for each 32.
                    name, bits = f"{name}, scales for 32", bits + 0.5
                row(arguments, f"{name}, {backend}" if found in FORMATS else name, bits, loop, MARCH[backend])


def order(name):
    return list(FORMATS).index(name) if name in FORMATS else len(FORMATS)


def compiled(compiler, source, includes, directory):
    to = pathlib.Path(directory) / (source.name + ".o")
    # bitnet.cpp's own ggml has the type; the function that asks for it is not one of those below. GCC 12 fails to
    # vectorize that function.
    flags = ["-O3", "-fno-tree-vectorize", "-march=armv8.2-a+dotprod", "-w", "-DGGML_TYPE_I2_S=GGML_TYPE_COUNT"]
    output(compiler, *flags, *[f"-I{path}" for path in includes], "-c", source, "-o", to)
    return to


def peers(arguments, directory):
    objects = []
    if arguments.ggml:
        # In llama.cpp it is a directory, in ggml's own repository the root.
        ggml = arguments.ggml / "ggml" if (arguments.ggml / "ggml").is_dir() else arguments.ggml
        includes = [ggml / "include", ggml / "src", ggml / "src/ggml-cpu"]
        objects.append((arguments.cc, ggml / "src/ggml-cpu/arch/arm/quants.c", includes))
        objects.append((arguments.cxx, ggml / "src/ggml-cpu/arch/arm/repack.cpp", includes))
        if arguments.bitnet:
            source = arguments.bitnet / "src/ggml-bitnet-mad.cpp"
            objects.append((arguments.cxx, source, [arguments.bitnet / "include", *includes]))
    for compiler, source, includes in objects:
        binary = compiled(compiler, source, includes, directory)
        for symbol in re.findall(r" T (.*)", output("aarch64-linux-gnu-nm", "-C", binary)):
            peer = PEERS.get(symbol.partition("(")[0])
            loops = list(innermost_loops(disassemble(binary, symbol))) if peer else []
            # The main loop is the one that is unrolled furthest.
            if loops:
                row(arguments, *peer, max(loops, key=lambda loop: loop.weights), "+dotprod")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path, help="the kernels' bench, built for aarch64")
    parser.add_argument("--mca", default="llvm-mca", help="the program, or its path")
    parser.add_argument("--ggml", type=pathlib.Path, help="a checkout of llama.cpp, for its kernels")
    parser.add_argument("--bitnet", type=pathlib.Path, help="a checkout of bitnet.cpp, for its kernels (needs --ggml)")
    parser.add_argument("--cc", default="aarch64-linux-gnu-gcc", help="for the peers")
    parser.add_argument("--cxx", default="aarch64-linux-gnu-g++", help="for the peers in C++")
    parser.add_argument("--spills", action="store_true", help="say how much goes through the stack")
    parser.add_argument("--loops", action="store_true", help="print the loops")
    arguments = parser.parse_args()
    print("Instructions for 64 weights, and estimated cycles (bytes of weights a cycle).\n")
    print("| loop | SIMD | loads | all | " + " | ".join(CPUS) + " |")
    print("|---|" + "--:|" * (3 + len(CPUS)))
    own(arguments)
    with tempfile.TemporaryDirectory() as directory:
        peers(arguments, directory)


if __name__ == "__main__":
    main()
