# SPDX-License-Identifier: Apache-2.0
"""A mtm_server process, a model folder for it, and Python stubs made from proto/ alone.

The environment says where things are: MTM_SERVER, MTM_SOURCE, MTM_PROTOC, MTM_GRPC_PYTHON_PLUGIN."""

import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import grpc

SOURCE = pathlib.Path(os.environ["MTM_SOURCE"])
SERVER = os.environ["MTM_SERVER"]
TINY_MODEL = SOURCE / "tests/testdata/golden/tiny"
SECONDS_TO_START = 120  # with sanitizers on a loaded machine


def make_stubs(folder):
    """mtm.v1, google.rpc, grpc.health.v1 and grpc.reflection.v1alpha are importable afterwards."""
    own = SOURCE / "tests/rpc/protos"
    for root in (SOURCE / "proto", own):
        files = [str(file.relative_to(root)) for file in sorted(root.rglob("*.proto"))]
        subprocess.run(
            [os.environ["MTM_PROTOC"], f"-I{root}", f"--python_out={folder}", f"--grpc_out={folder}",
             f"--plugin=protoc-gen-grpc={os.environ['MTM_GRPC_PYTHON_PLUGIN']}", *files], check=True)
    sys.path.insert(0, str(folder))
    grpc.__path__.append(str(pathlib.Path(folder) / "grpc"))  # grpc.health and grpc.reflection are not installed


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


def write_model(folder, n_layer=4, n_head=2, n_embd=16, n_ctx=64, seed=1):
    """A Hugging Face folder with random weights and GPT-2's tokenizer."""
    folder.mkdir(parents=True)
    vocabulary = 50257
    (folder / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
        "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "n_ctx": n_ctx, "n_positions": n_ctx,
        "vocab_size": vocabulary, "layer_norm_epsilon": 1e-5, "eos_token_id": 50256}))
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(SOURCE / "tests/testdata/tokenizer" / file, folder)
    shapes = tensor_shapes(n_layer, n_embd, n_ctx, vocabulary)
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # A few thousand numbers over and over are random enough, and quickly made.
    numbers = random.Random(seed)
    some = struct.pack("<4099e", *(numbers.gauss(0, 0.2) for _ in range(4099)))
    data = (some * (end // len(some) + 1))[:end]
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)
    return folder


class Server:
    """Runs until stop() or the end of a with block."""

    def __init__(self, folder, model, *flags, store=None):
        self.folder = pathlib.Path(folder)
        self.store = pathlib.Path(store or self.folder / "store")
        self.port_file = self.folder / "port"
        self.log_file = self.folder / "server.log"
        self.command = [SERVER, "serve", "--model", str(model), "--store", str(self.store), "--listen", "127.0.0.1:0",
                        "--port-file", str(self.port_file), "--threads", "1", *flags]

    def __enter__(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log)
        deadline = time.monotonic() + SECONDS_TO_START
        while not self.port_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log()}")
            time.sleep(0.01)
        self.port = int(self.port_file.read_text())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        return self

    def stop(self, number=signal.SIGTERM):
        """The exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def __exit__(self, *_):
        self.channel.close()
        if self.process.poll() is None:
            self.stop()

    def log(self):
        return self.log_file.read_text()


class Scratch:
    """A folder that goes with the block."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mtm_rpc_")
        return pathlib.Path(self.folder.name)

    def __exit__(self, *_):
        self.folder.cleanup()
