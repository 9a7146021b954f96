"""Computes what the test of `halfpi pack`'s sources expects: tests/golden/dequantize.json.

    pip install gguf numpy
    python tests/reference/dequantize_goldens.py

For each block type: 512 weights of random blocks, and their floats by the `gguf` package's own dequantization. Both are
little-endian, in hexadecimal.
"""

import json
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

WEIGHTS = 512
# Where the f16 scales of a block are.
SCALES = {
    T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.IQ4_NL: [0], T.IQ4_XS: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.TQ1_0: [52], T.TQ2_0: [64],
}

random = np.random.default_rng(20)
golden = {}
for ty, places in SCALES.items():
    block, block_bytes = GGML_QUANT_SIZES[ty]
    blocks = random.integers(0, 256, (WEIGHTS // block, block_bytes), dtype=np.uint8)
    for at in places:
        # Random bytes could be infinite.
        scales = random.uniform(-0.1, 0.1, len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    floats = dequantize(blocks, ty).astype("<f4")
    golden[ty.name] = {"blocks": blocks.tobytes().hex(), "floats": floats.tobytes().hex()}

path = Path(__file__).parent.parent / "golden" / "dequantize.json"
path.write_text(json.dumps(golden, indent=1) + "\n")
