"""A reference of iFairy, the complex-valued transformer (also Fairy±i), in numpy's complex numbers.

Written from the paper, arXiv:2508.05571, and where it leaves a choice from the authors' published model code
(modeling_Fairy_plus_minus_i.py in their repository Fairy-plus-minus-i):

- A linear layer is y = W conj(x), without a bias.
- The norm is x / sqrt(mean(|x|^2) + eps); its weights scale the real and the imaginary part apart. Besides the norms
  before attention and FFN there is one before each of their output projections, and one before the head.
- Rope multiplies channel j of a head of d complex channels by e^(i position base^(-j / d)).
- The score is Re(q conj(k)) / sqrt(d); its softmax, a real number, weighs complex values.
- The FFN is down(norm(conj(act(gate)) up)), where act squares the real and the imaginary part of a number, and takes it
  to 0 if both are negative.
- Embeddings are pairs of real ones; the head is a real matrix on the real parts followed by the imaginary ones.

The files are this project's: metadata counts complex channels. A row of token_embd and of output has all real parts,
then all imaginary ones, and norms too; a matrix of m x n complex numbers is one of 2m x n, real parts first.
"""

import gguf
import numpy as np

import reference


def conj_linear(weight, x):
    """W conj(x) for every row of x."""
    return np.conj(x) @ weight.T


def parts(x):
    """Complex numbers as their real parts, then their imaginary ones, along the last axis."""
    return np.concatenate([x.real, x.imag], axis=-1)


def join(x):
    """The other way."""
    re, im = np.split(np.asarray(x, np.float32), 2, axis=-1)
    return (re + 1j * im).astype(np.complex64)


def phase_quant(weight):
    """PhaseQuant: the nearest of 1, i, -1, -i by angle, times the mean |Re w| of the weights that became ±1, or the
    mean |Im w| of those that became ±i."""
    angle = np.angle(weight)
    quarter = np.pi / 4
    right, left = (-quarter <= angle) & (angle < quarter), (angle >= 3 * quarter) | (angle < -3 * quarter)
    up, down = (quarter <= angle) & (angle < 3 * quarter), (-3 * quarter <= angle) & (angle < -quarter)
    re_scale = np.abs(weight.real[right | left]).mean()
    im_scale = np.abs(weight.imag[up | down]).mean()
    re = re_scale * (right.astype(np.float32) - left)
    im = im_scale * (up.astype(np.float32) - down)
    return (re + 1j * im).astype(np.complex64)


class Model:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.metadata = reference.read_metadata(reader)
        if (arch := self.metadata["general.architecture"]) != "ifairy":
            raise ValueError(f"general.architecture is {arch!r}, not ifairy")
        self.tensors = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            for tensor in reader.tensors
        }
        key = lambda name: self.metadata[f"ifairy.{name}"]
        self.n_layer, self.n_head = key("block_count"), key("attention.head_count")
        self.n_head_kv = key("attention.head_count_kv")
        self.head_dim = key("embedding_length") // self.n_head  # complex channels
        self.round_cache = lambda x: x
        self.eps, self.rope_base = key("attention.layer_norm_rms_epsilon"), key("rope.freq_base")

    def linear(self, name, x):
        re, im = np.split(self.tensors[f"{name}.weight"], 2, axis=0)
        return conj_linear((re + 1j * im).astype(np.complex64), x)

    def norm(self, name, x):
        mean = np.mean(np.abs(x).astype(np.float64) ** 2, axis=-1, keepdims=True)
        x = (x / np.sqrt(mean + self.eps)).astype(np.complex64)
        return join(parts(x) * self.tensors[f"{name}.weight"])

    def rope(self, x):
        """x [T, heads, head_dim], positions 0..T."""
        frequency = self.rope_base ** (-np.arange(self.head_dim) / self.head_dim)
        angle = np.arange(x.shape[0])[:, None, None] * frequency
        return (x * np.exp(1j * angle)).astype(np.complex64)

    def attention(self, block, x):
        n = x.shape[0]
        q, k, v = (
            self.linear(f"{block}.attn_{name}", x).reshape(n, heads, self.head_dim)
            for name, heads in (("q", self.n_head), ("k", self.n_head_kv), ("v", self.n_head_kv))
        )
        group = self.n_head // self.n_head_kv
        k, v = (np.repeat(join(self.round_cache(parts(x))), group, axis=1) for x in (self.rope(k), v))
        score = np.einsum("qhd,khd->hqk", self.rope(q), np.conj(k)).real / np.sqrt(self.head_dim)
        score[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        return np.einsum("hqk,khd->qhd", reference.softmax(score), v).reshape(n, -1)

    def feed_forward(self, block, x):
        gate, up = self.linear(f"{block}.ffn_gate", x), self.linear(f"{block}.ffn_up", x)
        closed = (gate.real < 0) & (gate.imag < 0)
        act = np.where(closed, 0, gate.real**2 + 1j * gate.imag**2)
        return (np.conj(act) * up).astype(np.complex64)

    def logits(self, ids):
        """Of every position of one sequence from position 0: [T, n_vocab]."""
        x = join(self.tensors["token_embd.weight"][np.asarray(ids)])
        for layer in range(self.n_layer):
            block = f"blk.{layer}"
            mixed = self.attention(block, self.norm(f"{block}.attn_norm", x))
            x = x + self.linear(f"{block}.attn_output", self.norm(f"{block}.attn_sub_norm", mixed))
            inner = self.feed_forward(block, self.norm(f"{block}.ffn_norm", x))
            x = x + self.linear(f"{block}.ffn_down", self.norm(f"{block}.ffn_sub_norm", inner))
        return parts(self.norm("output_norm", x)) @ self.tensors["output.weight"].T

    def sensitivity(self, ids, round_cache):
        """The relative change of each position's logits when keys and values are rounded. act jumps where a number with one
        negative part has its other part change sign, so that rounding can open or close a gate."""
        exact = self.logits(ids)
        self.round_cache, before = round_cache, self.round_cache
        rounded = self.logits(ids)
        self.round_cache = before
        return np.linalg.norm(rounded - exact, axis=-1) / np.linalg.norm(exact, axis=-1)


def half(x):
    return x.astype(np.float16)


def int8(x):
    """8 bits, the largest part of a head at 127."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / 127
    return np.round(x / scale) * scale
