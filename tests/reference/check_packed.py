"""Reads a packed file with the `gguf` package, as any other reader would, and unpacks it by the layout's description.

    pip install gguf numpy
    python tests/reference/check_packed.py PACKED.gguf [ORIGINAL.gguf]

Prints the metadata of halfpi, the tensors' types, and, given the original, the signal-to-noise ratio of each packed
tensor: written apart from the Rust code, from the description of the layout in kernels/src/format/packed.rs.
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

ROWS, GROUP = 16, 32


def unpack(data):
    """The weights of a packed tensor, and its shape: rows, columns."""
    header = data[:128].tobytes()
    assert header[:4] == b"HPIP" and int.from_bytes(header[4:6], "little") == 1
    bits, has_minima = header[6], header[7] & 1
    rows, cols, group = (int.from_bytes(header[at : at + 4], "little") for at in (8, 12, 16))
    tiles, groups = -(-rows // ROWS), cols // GROUP
    scale_groups = cols // group if group else 1
    codes_bytes = tiles * ROWS * cols * bits // 8
    codes = data[128 : 128 + codes_bytes].reshape(tiles, groups, -1, ROWS, 4)
    if bits == 8:
        # Step s, row, j: column 4s + j.
        values = codes.view(np.int8).transpose(0, 3, 1, 2, 4).reshape(tiles * ROWS, cols)
    else:
        nibbles = np.stack([codes & 15, codes >> 4], axis=2)
        nibbles = nibbles.transpose(0, 4, 1, 2, 3, 5).reshape(tiles * ROWS, cols)
        values = np.frombuffer(header[32:48], np.int8)[nibbles]
    rest = data[128 + codes_bytes :].view("<f2").astype(np.float32)
    parts = rest.reshape(1 + has_minima, tiles, scale_groups, ROWS).transpose(0, 1, 3, 2)
    parts = parts.reshape(1 + has_minima, tiles * ROWS, scale_groups).repeat(cols // scale_groups, axis=2)
    weights = values * parts[0] + (parts[1] if has_minima else 0)
    return weights[:rows].astype(np.float32)


def main(packed_path, original_path=None):
    packed = GGUFReader(packed_path)
    for name, field in packed.fields.items():
        if name.startswith("halfpi.") or name in ("general.architecture", "general.alignment"):
            print(name, field.contents())
    original = {tensor.name: tensor for tensor in GGUFReader(original_path).tensors} if original_path else {}
    counts, signal, error = {}, 0.0, 0.0
    for tensor in packed.tensors:
        counts[tensor.tensor_type.name] = counts.get(tensor.tensor_type.name, 0) + 1
        if tensor.tensor_type != GGMLQuantizationType.I8:
            continue
        weights = unpack(np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1))
        if tensor.name in original:
            source = original[tensor.name]
            expected = dequantize(source.data, source.tensor_type).astype(np.float64)
            assert expected.shape == weights.shape, (tensor.name, expected.shape, weights.shape)
            tensor_signal, tensor_error = np.square(expected).sum(), np.square(expected - weights).sum()
            signal, error = signal + tensor_signal, error + tensor_error
            if tensor.name == "token_embd.weight" or tensor.name.startswith("blk.0."):
                with np.errstate(divide="ignore"):
                    print(f"{tensor.name} {weights.shape} {10 * np.log10(tensor_signal / tensor_error):.3f} dB")
    print(counts)
    if signal:
        with np.errstate(divide="ignore"):
            print(f"all packed tensors: {10 * np.log10(signal / error):.4f} dB")


main(*sys.argv[1:])
