# SPDX-License-Identifier: Apache-2.0
"""A mtm_server process, a model folder for it, and Python stubs made from proto/ alone.

The environment says where things are: MTM_SERVER, MTM_SOURCE, MTM_PROTOC, MTM_GRPC_PYTHON_PLUGIN."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

SOURCE = pathlib.Path(os.environ["MTM_SOURCE"])
SERVER = os.environ["MTM_SERVER"]
sys.path.insert(0, str(SOURCE / "tests/support"))
import random_model  # noqa: E402

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


def module_folder():
    """For setUpModule: a folder that goes with the module's tests. The stubs are in it, and importable."""
    folder = unittest.enterModuleContext(Scratch())
    (folder / "stubs").mkdir()
    make_stubs(folder / "stubs")
    return folder


def write_model(folder, **shape):
    """A Hugging Face folder with random weights and GPT-2's tokenizer."""
    random_model.write(folder, vocabulary=50257, **shape)
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(SOURCE / "tests/testdata/tokenizer" / file, folder)
    return folder


class Server:
    """Runs until stop() or the end of a with block. `channel` has `credentials`, of grpc.ssl_channel_credentials."""

    def __init__(self, folder, model, *flags, store=None, listen="127.0.0.1:0", credentials=None):
        self.folder = pathlib.Path(folder)
        self.store = pathlib.Path(store or self.folder / "store")
        self.port_file = self.folder / "port"
        self.log_file = self.folder / "server.log"
        self.credentials = credentials
        self.command = [SERVER, "serve", "--model", str(model), "--store", str(self.store), "--listen", listen,
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
        self.address = f"127.0.0.1:{self.port}"
        self.channel = (grpc.secure_channel(self.address, self.credentials) if self.credentials
                        else grpc.insecure_channel(self.address))
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
