#!/usr/bin/env python3
"""Searches the additive φ tables of kernels/src/format/tables.rs, PHI_ADDITIVE and PHI5_ADDITIVE.

    pip install numpy gguf
    benches/phi_tables.py [--model SOURCE.gguf] [--groups 6000]

Lloyd's algorithm finds the levels of least squared error for groups of 32 weights whose scale is chosen with them; each
level becomes the nearest power of φ or sum or difference of two, at every size that the table could have, and the sizes
whose levels move least are printed: what they keep of weights that the search has not seen, in decibels, beside Lloyd's
own levels and the table in use. Weights are Gaussian and Laplacian, and with --model a model's, dithered by a step of its
own quantization so that no level is preferred. The tables in use were found so, with SmolLM2 as the model and a third of
the Laplacian weights; those of five bits were then exchanged for neighbours one at a time.
"""

import argparse

import numpy as np

PHI = (1 + 5**0.5) / 2
GROUP = 32
PHI_ADDITIVE = [-127, -99, -78, -61, -46, -32, -20, -8, 2, 13, 23, 35, 49, 66, 81, 107]
PHI5_ADDITIVE = [3, 10, 17, 24, 31, 39, 47, 56, 64, 71, 78, 86, 95, 103, 115, 127]


def elements():
    """Powers of φ, and sums and differences of two: {value: how it is written}."""
    powers = range(-9, 4)
    found = {round(PHI**a, 9): f"φ^{a}" for a in powers}
    for a in powers:
        for b in range(-9, a):
            for sign, symbol in ((1, "+"), (-1, "-")):
                found.setdefault(round(PHI**a + sign * PHI**b, 9), f"φ^{a}{symbol}φ^{b}")
    return {value: name for value, name in sorted(found.items()) if value > 0}


def nearest(levels, x):
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, x)


def scales(groups, levels, signs):
    """The scale of least squared error of each group, among many and then by two steps of Lloyd's."""
    largest, top = np.abs(groups).max(axis=1), np.abs(levels).max()
    best, scale = np.full(len(groups), -1.0), np.ones(len(groups))
    for share in 1.3 * 1.04 ** -np.arange(25.0):
        for sign in signs:
            chosen = levels[nearest(levels, groups / (sign * largest * share / top)[:, None])]
            dot, norm = (groups * chosen).sum(axis=1), (chosen**2).sum(axis=1)
            better = dot**2 / norm > best
            best, scale = np.where(better, dot**2 / norm, best), np.where(better, dot / norm, scale)
    for _ in range(2):
        chosen = levels[nearest(levels, groups / scale[:, None])]
        scale = (groups * chosen).sum(axis=1) / (chosen**2).sum(axis=1)
    return scale


def decibels(groups, levels, signs):
    levels = np.sort(np.asarray(levels, float))
    scale = scales(groups, levels, signs)[:, None]
    error = groups - scale * levels[nearest(levels, groups / scale)]
    return 10 * np.log10((groups**2).sum() / (error**2).sum())


def lloyd(groups, levels, signs, mirrored, rounds=12):
    levels = np.asarray(levels, float)
    for _ in range(rounds):
        levels = np.sort(levels)
        scale = scales(groups, levels, signs)[:, None]
        x, weight = groups / scale, np.broadcast_to(scale**2, groups.shape)
        code = nearest(levels, x).ravel()
        sums = np.bincount(code, (weight * x).ravel(), len(levels))
        levels = sums / np.maximum(np.bincount(code, weight.ravel(), len(levels)), 1e-9)
        if mirrored:
            levels = (levels - levels[::-1]) / 2
    return levels / np.abs(levels).max()


def snapped(levels, known):
    """Tables of elements near `levels`, those that move it least first, as (table, how it is written)."""
    values = np.array(list(known))
    found = {}
    for top in np.linspace(2.2, 4.4, 600):
        wanted = levels / np.abs(levels).max() * top
        chosen = values[np.abs(values[:, None] - np.abs(wanted)).argmin(axis=0)]
        table = tuple(np.round(127 * np.sign(wanted) * chosen / chosen.max()).astype(int).tolist())
        moved = np.abs(chosen - np.abs(wanted)).sum() / top
        if len(set(table)) == len(table) and moved < found.get(table, (9e9,))[0]:
            found[table] = (moved, [known[value] for value in chosen.tolist()])
    return [(table, names) for table, (_, names) in sorted(found.items(), key=lambda entry: entry[1][0])]


def weights(args):
    """{name: (groups to search with, groups to judge by)}"""
    rng = np.random.default_rng(1)
    shape = (2 * args.groups, GROUP)
    kinds = {"Gauss": rng.standard_normal(shape), "Laplace": rng.laplace(size=shape)}
    if args.model:
        kinds["model"] = of_model(args, rng)
    return {name: np.split(groups, 2) for name, groups in kinds.items()}


def of_model(args, rng):
    import gguf

    tensors = [t for t in gguf.GGUFReader(args.model).tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    found = []
    for tensor in tensors:
        groups = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(float).reshape(-1, GROUP)
        groups = groups[rng.choice(len(groups), 2 * args.groups // len(tensors) + 1)]
        step = np.ptp(groups, axis=1, keepdims=True) / 15
        groups += step * (rng.random(groups.shape) - 0.5)
        found.append(groups / np.sqrt((groups**2).mean()))
    found = np.concatenate(found)
    return rng.permutation(found)[: 2 * args.groups]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="a GGUF with 4-bit weights")
    parser.add_argument("--groups", type=int, default=6000, help="of 32 weights, of each kind [default: %(default)s]")
    args = parser.parse_args()
    kinds = weights(args)
    search = np.concatenate([groups for groups, _ in kinds.values()])

    def show(name, levels, signs, names=()):
        kept = "  ".join(f"{kind} {decibels(judged, levels, signs):.2f}" for kind, (_, judged) in kinds.items())
        print(f"{name:9}{kept} dB  {' '.join(map(str, levels))}", *names, sep="\n         ", flush=True)

    # Four bits: 16 levels, and a scale of either sign. Five: 16 magnitudes of either sign.
    for bits, used in ((4, PHI_ADDITIVE), (5, PHI5_ADDITIVE)):
        mirrored, signs = bits == 5, (1,) if bits == 5 else (1, -1)
        both = (lambda table: [*(-x for x in table), *table]) if mirrored else list
        start = both(range(1, 32, 2)) if mirrored else used
        levels = lloyd(search, start, signs, mirrored)
        half = levels[16:] if mirrored else levels
        print(f"{bits} bits")
        show("Lloyd's", np.round(127 * levels, 1).tolist(), signs)
        show("in use", both(used), signs)
        for table, names in snapped(half, elements())[:3]:
            show("found", both(table), signs, [", ".join(names)])


if __name__ == "__main__":
    main()
