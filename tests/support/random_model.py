# SPDX-License-Identifier: Apache-2.0
"""A GPT-2 folder of random weights, from nothing but the standard library; the tokenizer is the caller's."""
import json
import pathlib
import random
import struct


def tensor_shapes(n_layer, n_embd, n_ctx, vocabulary):
    shapes = {"wte.weight": [vocabulary, n_embd], "wpe.weight": [n_ctx, n_embd],
              "ln_f.weight": [n_embd], "ln_f.bias": [n_embd]}
    for layer in range(n_layer):
        for name, shape in {"ln_1.weight": [n_embd], "ln_1.bias": [n_embd],
                            "attn.c_attn.weight": [n_embd, 3 * n_embd], "attn.c_attn.bias": [3 * n_embd],
                            "attn.c_proj.weight": [n_embd, n_embd], "attn.c_proj.bias": [n_embd],
                            "ln_2.weight": [n_embd], "ln_2.bias": [n_embd],
                            "mlp.c_fc.weight": [n_embd, 4 * n_embd], "mlp.c_fc.bias": [4 * n_embd],
                            "mlp.c_proj.weight": [4 * n_embd, n_embd], "mlp.c_proj.bias": [n_embd]}.items():
            shapes[f"h.{layer}.{name}"] = shape
    return shapes


def write(folder, vocabulary, n_layer=4, n_head=2, n_embd=16, n_ctx=64, seed=1):
    """config.json and model.safetensors; the last token of the vocabulary ends a text."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
        "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "n_ctx": n_ctx, "n_positions": n_ctx,
        "vocab_size": vocabulary, "layer_norm_epsilon": 1e-5, "eos_token_id": vocabulary - 1}))
    header, end = {}, 0
    for name, shape in tensor_shapes(n_layer, n_embd, n_ctx, vocabulary).items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # A few thousand numbers over and over are random enough, and quickly made.
    numbers = random.Random(seed)
    some = struct.pack("<4099e", *(numbers.gauss(0, 0.2) for _ in range(4099)))
    data = (some * (end // len(some) + 1))[:end]
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
