"""An independent forward pass of the Llama architecture, for judging dhole's.

Reads the file with the PyPI package `gguf` (its parser, its dequantisation) and computes every
position at once, without a KV cache: short, and sharing nothing with the C side.
"""

import gguf
import numpy as np


class Llama:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.weights = {}

        def value(key, default=None):
            field = reader.get_field(key)
            return default if field is None else field.contents()

        self.layers = value("llama.block_count")
        self.hidden = value("llama.embedding_length")
        self.heads = value("llama.attention.head_count")
        self.kv_heads = value("llama.attention.head_count_kv", self.heads)
        self.head_dim = value("llama.attention.key_length", self.hidden // self.heads)
        self.norm_eps = value("llama.attention.layer_norm_rms_epsilon")
        self.rope_dims = value("llama.rope.dimension_count", self.head_dim)
        self.rope_base = value("llama.rope.freq_base", 10000.0)
        self.rope_scale = 1.0
        if value("llama.rope.scaling.type", "none") == "linear":
            self.rope_scale = 1.0 / value("llama.rope.scaling.factor")

    def weight(self, name):
        """{n_out, n_in} in float32; kept, as dequantisation costs more than the products."""
        if name not in self.weights:
            tensor = self.tensors[name]
            shape = [int(n) for n in reversed(tensor.shape)]
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            self.weights[name] = np.asarray(values, np.float32).reshape(shape)
        return self.weights[name]

    def linear(self, name, x):
        """A float32 product: casting the weights would take longer than everything else."""
        return (x.astype(np.float32) @ self.weight(name).T).astype(np.float64)

    def norm(self, name, x):
        """RMSNorm, arXiv:1910.07467."""
        mean = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean + self.norm_eps) * self.weight(name)

    def rotate(self, x):
        """RoFormer, arXiv:2104.09864; x: {positions, heads, head_dim}. GGUF stores Llama so that
        the two parts of a pair are neighbours."""
        pairs = np.arange(0, self.rope_dims, 2)
        frequency = self.rope_base ** (-pairs / self.rope_dims)
        if "rope_freqs.weight" in self.tensors:
            frequency = frequency / self.weight("rope_freqs.weight")
        angle = np.outer(np.arange(len(x)) * self.rope_scale, frequency)[:, None, :]
        turned = np.exp(1j * angle) * (x[..., pairs] + 1j * x[..., pairs + 1])
        out = x.copy()
        out[..., pairs] = turned.real
        out[..., pairs + 1] = turned.imag
        return out

    def attention(self, layer, x):
        """Causal, each KV head shared by a group of query heads; x: {positions, hidden}."""
        count = len(x)

        def heads(name, n):
            return self.linear(f"blk.{layer}.{name}.weight", x).reshape(count, n, self.head_dim)

        q = self.rotate(heads("attn_q", self.heads))
        k = self.rotate(heads("attn_k", self.kv_heads))
        v = heads("attn_v", self.kv_heads)
        group = self.heads // self.kv_heads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)

        score = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.head_dim)
        score += np.triu(np.full((count, count), -np.inf), 1)
        score = np.exp(score - score.max(axis=-1, keepdims=True))
        score /= score.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", score, v).reshape(count, -1)
        return self.linear(f"blk.{layer}.attn_output.weight", mixed)

    def feed_forward(self, layer, x):
        """SwiGLU, arXiv:2002.05202."""
        gate = self.linear(f"blk.{layer}.ffn_gate.weight", x)
        up = self.linear(f"blk.{layer}.ffn_up.weight", x)
        return self.linear(f"blk.{layer}.ffn_down.weight", gate / (1 + np.exp(-gate)) * up)

    def logits(self, tokens, last_only=False):
        """{positions, vocab}, or {1, vocab} of the last position."""
        x = self.weight("token_embd.weight")[np.asarray(tokens)].astype(np.float64)
        for layer in range(self.layers):
            x = x + self.attention(layer, self.norm(f"blk.{layer}.attn_norm.weight", x))
            x = x + self.feed_forward(layer, self.norm(f"blk.{layer}.ffn_norm.weight", x))
        x = self.norm("output_norm.weight", x[-1:] if last_only else x)
        tied = "output.weight" not in self.tensors
        return self.linear("token_embd.weight" if tied else "output.weight", x)
