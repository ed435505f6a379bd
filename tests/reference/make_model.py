"""Writes Llama model files for tests: small random ones of any shape and type, and copies of a
real one with its weights stored as another type."""

import gguf
import numpy as np

from bpe import byte_names

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["t h", "th e", "i n", "a n", "an d", "Ġ the", "Ġ a", "e r", "o n", "r e"]


def add_tokenizer(writer):
    """Byte-level BPE with a few merges; returns the vocabulary's size."""
    tokens = CONTROL + byte_names() + [merge.replace(" ", "") for merge in MERGES]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(CONTROL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    return len(tokens)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_weight(writer, name, values, kind):
    kind = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def write(path, kind="F32", layers=4, hidden=128, heads=4, kv_heads=2, head_dim=None, ffn=352,
          context=512, tied=True, rope_dims=None, rope_base=None, rope_factor=None,
          rope_freqs=False, head_kind=None, silent=False, seed=1):
    """A random model. `silent` zeroes what the layers add to the residual stream, so that the
    activations between any two layers are the embedding rows, bit for bit."""
    rng = np.random.default_rng(seed)
    head_dim = head_dim or hidden // heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(context)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    if head_dim * heads != hidden:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(rope_dims or head_dim)
    if rope_base:
        writer.add_rope_freq_base(rope_base)
    if rope_factor:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope_factor)
    vocab = add_tokenizer(writer)

    def weight(name, n_out, n_in, scale=1.0, stored=kind):
        values = rng.standard_normal((n_out, n_in), np.float32) * np.float32(scale / n_in**0.5)
        add_weight(writer, name, values, stored)

    def norm(name):
        writer.add_tensor(name, rng.uniform(0.5, 1.5, hidden).astype(np.float32))

    added = 0.0 if silent else 0.5
    weight("token_embd.weight", vocab, hidden, hidden**0.5 / 4, head_kind or kind)
    norm("output_norm.weight")
    if not tied:
        weight("output.weight", vocab, hidden, 4.0, head_kind or kind)
    if rope_freqs:
        divisors = rng.uniform(1, 8, (rope_dims or head_dim) // 2).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", divisors)
    for layer in range(layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        weight(block + "attn_q.weight", heads * head_dim, hidden, 2.0)
        weight(block + "attn_k.weight", kv_heads * head_dim, hidden)
        weight(block + "attn_v.weight", kv_heads * head_dim, hidden)
        weight(block + "attn_output.weight", hidden, heads * head_dim, added)
        norm(block + "ffn_norm.weight")
        weight(block + "ffn_gate.weight", ffn, hidden)
        weight(block + "ffn_up.weight", ffn, hidden)
        weight(block + "ffn_down.weight", hidden, ffn, added)
    finish(writer)


def convert(source, path, kind):
    """The same model, its matrices stored as `kind`."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        add_weight(writer, tensor.name, values, kind if values.ndim > 1 else "F32")
    finish(writer)
