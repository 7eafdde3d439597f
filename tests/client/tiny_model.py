# SPDX-License-Identifier: Apache-2.0
"""A GPT-2 folder of random weights with a byte-level tokenizer, from nothing but the standard library."""
import array
import json
import pathlib
import random
import struct

LAYERS, HEADS, EMBEDDING, CONTEXT = 4, 2, 16, 64


def byte_letters():
    """GPT-2's letters for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(plain)))
    return [letters[byte] for byte in range(256)]


def write(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    merges = ["c a", "ca t", "Ġ cat"]
    tokens = byte_letters() + [merge.replace(" ", "") for merge in merges] + ["<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_layer": LAYERS, "n_head": HEADS, "n_embd": EMBEDDING, "n_ctx": CONTEXT, "n_positions": CONTEXT,
        "vocab_size": len(tokens), "layer_norm_epsilon": 1e-5,
        "bos_token_id": len(tokens) - 1, "eos_token_id": len(tokens) - 1}))

    e = EMBEDDING
    shapes = {"wte.weight": [len(tokens), e], "wpe.weight": [CONTEXT, e], "ln_f.weight": [e], "ln_f.bias": [e]}
    for layer in range(LAYERS):
        for name, shape in {"ln_1.weight": [e], "ln_1.bias": [e], "ln_2.weight": [e], "ln_2.bias": [e],
                            "attn.c_attn.weight": [e, 3 * e], "attn.c_attn.bias": [3 * e],
                            "attn.c_proj.weight": [e, e], "attn.c_proj.bias": [e],
                            "mlp.c_fc.weight": [e, 4 * e], "mlp.c_fc.bias": [4 * e],
                            "mlp.c_proj.weight": [4 * e, e], "mlp.c_proj.bias": [e]}.items():
            shapes[f"h.{layer}.{name}"] = shape
    generator = random.Random(20)
    header, data = {}, bytearray()
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = array.array("f", (generator.gauss(0, 0.3) for _ in range(count)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
