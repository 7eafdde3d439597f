# SPDX-License-Identifier: Apache-2.0
"""A GPT-2 folder of random weights with a byte-level tokenizer."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import random_model  # noqa: E402

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
    random_model.write(folder, len(tokens), LAYERS, HEADS, EMBEDDING, CONTEXT)
