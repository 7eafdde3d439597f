# SPDX-License-Identifier: Apache-2.0
"""The mtm_server program: start, signals, files, exit codes, import of the reference's memories."""

import collections
import io
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
import types
import unittest
import zipfile

import grpc

import server_process

REFERENCE = server_process.SOURCE.parent / "shared/reference/positive_cat_init_token_gpt2_memstore"


def setUpModule():
    global model, v1, memory_pb, inference_grpc, memory_grpc, model_pb2, health_pb, health_grpc
    folder = server_process.module_folder()
    from grpc.health.v1 import health_pb2 as health_pb
    from grpc.health.v1 import health_pb2_grpc as health_grpc
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import inference_service_pb2_grpc as inference_grpc
    from mtm.v1 import memory_service_pb2 as memory_pb
    from mtm.v1 import memory_service_pb2_grpc as memory_grpc
    from mtm.v1 import model_pb2
    model = server_process.write_model(folder / "small")


def run(*arguments):
    return subprocess.run([server_process.SERVER, *map(str, arguments)], capture_output=True, text=True, timeout=120)


class FolderTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(server_process.Scratch())


class ProcessTest(FolderTest):
    def test_memories_and_answers_outlive_the_process(self):
        request = None
        answers = []
        for _ in range(2):
            with server_process.Server(self.folder, model) as server:
                stub = memory_grpc.MemoryServiceStub(server.channel)
                if request is None:
                    spec = memory_pb.CreateMemoryRequest.Spec(name="cats")
                    list(stub.CreateMemory(iter([memory_pb.CreateMemoryRequest(spec=spec),
                                                 memory_pb.CreateMemoryRequest(text=b"Cats sleep.")])))
                    request = v1.GenerateRequest(prompt="Dogs", memory_uses=[v1.MemoryUse(memory="cats")])
                    request.parameters.sampling.seed = 4
                answer = inference_grpc.InferenceServiceStub(server.channel).Generate(request)
                answers.append((answer.applied, answer.samples))
                self.assertEqual(server.stop(), 0)
        self.assertEqual(*map(repr, answers))

    def test_a_signal_lets_requests_finish_and_then_ends(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with server_process.Server(self.folder, model, "--shutdown-grace-ms", "60000") as server:
                watch = health_grpc.HealthStub(server.channel).Watch(health_pb.HealthCheckRequest())
                self.assertEqual(next(watch).status, health_pb.HealthCheckResponse.SERVING)
                request = v1.GenerateRequest(prompt="Dogs")
                request.parameters.mode = v1.MODE_EXACT
                request.parameters.max_tokens = 1000
                request.parameters.ignore_end_of_text = True
                stream = inference_grpc.InferenceServiceStub(server.channel).StreamGenerate(request)
                next(stream)
                server.process.send_signal(number)
                self.assertEqual(next(watch).status, health_pb.HealthCheckResponse.NOT_SERVING)
                server.process.send_signal(signal.SIGTERM)  # supervisors may repeat themselves
                self.assertEqual(sum(event.HasField("token") for event in stream), 1000)
                self.assertEqual(server.process.wait(60), 0)
            self.assertFalse(server.port_file.exists())
            self.assertIn(f"event=stopping signal={signal.Signals(number).name}", server.log())
            self.assertIn("event=stopped", server.log())

    def test_at_the_end_of_the_grace_requests_are_ended(self):
        with server_process.Server(self.folder, model, "--shutdown-grace-ms", "0") as server:
            request = v1.GenerateRequest(prompt="Dogs")
            request.parameters.mode = v1.MODE_EXACT
            request.parameters.max_tokens = 100000
            request.parameters.ignore_end_of_text = True
            stream = inference_grpc.InferenceServiceStub(server.channel).StreamGenerate(request)
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaises(grpc.RpcError) as raised:
                list(stream)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(server.process.wait(60), 0)

    def test_the_log_says_what_was_loaded_and_each_request(self):
        with server_process.Server(self.folder, model) as server:
            inference_grpc.InferenceServiceStub(server.channel).Tokenize(v1.TokenizeRequest(text="xyzzy"))
            server.stop()
        log = server.log()
        self.assertRegex(log, r"event=model_loaded model=small fingerprint=[0-9a-f]{64} layers=4 ")
        self.assertRegex(log, r"event=store_opened memories=0 quarantined=0 resident_bytes=0 max_resident_bytes=\d+ "
                              r"read_only=false seconds=")
        self.assertRegex(log, rf"event=serving address=127.0.0.1:{server.port} ")
        self.assertRegex(log, r"rpc=Tokenize status=OK .*seconds=")
        self.assertNotIn("xyzzy", log)

    def test_options_come_from_a_file(self):
        config = self.folder / "mtm.toml"
        config.write_text(f'[serve]\nmodel = "{model}"\nmax-text-bytes = 5\nlisten = "127.0.0.1:1"\n')
        with server_process.Server(self.folder, model, "--config", str(config)) as server:
            spec = memory_pb.CreateMemoryRequest.Spec(name="cats")
            with self.assertRaises(grpc.RpcError) as raised:
                list(memory_grpc.MemoryServiceStub(server.channel).CreateMemory(iter(
                    [memory_pb.CreateMemoryRequest(spec=spec), memory_pb.CreateMemoryRequest(text=b"123456")])))
            self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        config.write_text("[serve]\nmax-txt-bytes = 5\n")
        self.assertEqual(run("serve", "--config", config, "--model", model, "--store", "x").returncode, 2)

    def create(self, server, name, text=b"Cats sleep."):
        spec = memory_pb.CreateMemoryRequest.Spec(name=name)
        return list(memory_grpc.MemoryServiceStub(server.channel).CreateMemory(iter(
            [memory_pb.CreateMemoryRequest(spec=spec), memory_pb.CreateMemoryRequest(text=text)])))[-1].memory

    def test_quotas_and_versions_come_from_the_options(self):
        config = self.folder / "mtm.toml"
        config.write_text('[serve]\nquota = ["*:memories=1", ":memories=1", "team:memories=2,tokens=10,bytes=1GiB"]\n'
                          'max-versions = 1\nmax-resident-bytes = "64MiB"\nindex-min-tokens = 5000\n'
                          'scrub-bytes-per-second = "1MB"\n')
        with server_process.Server(self.folder, model, "--config", str(config)) as server:
            self.assertIn("max_resident_bytes=67108864 ", server.log())
            for name in ("cats", "other/cats", "team/cats"):
                self.create(server, name)
            deadline = time.monotonic() + 20  # the line comes after the answer
            while "memory=team/cats@" not in server.log() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertRegex(server.log(), r"rpc=CreateMemory memory=team/cats@[0-9a-f]{64} status=OK ")
            for name in ("dogs", "other/dogs"):
                with self.assertRaises(grpc.RpcError) as raised:
                    self.create(server, name)
                self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            with self.assertRaises(grpc.RpcError) as raised:
                self.create(server, "team/dogs", b"word " * 20)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.create(server, "team/dogs")

    def test_wrong_quotas_are_refused_in_words(self):
        for quota, words in (("team", "must be NAMESPACE:"), ("a/b:memories=1", "namespace"),
                             ("team:rows=1", "memories, tokens and bytes"), ("team:tokens=many", "tokens must be"),
                             ("team:tokens=-1", "tokens must be"), ("team:", "memories, tokens and bytes")):
            result = run("serve", "--model", model, "--store", self.folder / "store", "--quota", quota)
            self.assertEqual(result.returncode, 2, quota)
            self.assertRegex(result.stderr, r"^mtm_server: [^\n]+\n$")
            self.assertIn(words, result.stderr)
        for arguments in (["--max-resident-bytes", "0"], ["--max-resident-bytes", "many"], ["--max-versions", "0"],
                          ["--scrub-bytes-per-second", "-1"], ["--index-min-tokens", "0"]):
            result = run("serve", "--model", model, "--store", self.folder / "store", *arguments)
            self.assertEqual(result.returncode, 2, arguments)

    def test_a_memory_says_how_the_weights_that_made_it_were_kept(self):
        with server_process.Server(self.folder, model, "--weights", "int8") as server:
            self.create(server, "cats")
            self.assertIn("weights=int8", server.log())
            self.assertEqual(self.weights_of(server), (model_pb2.WEIGHT_TYPE_INT8,) * 2)
        with server_process.Server(self.folder, model) as server:  # others may use it
            self.assertEqual(self.weights_of(server), (model_pb2.WEIGHT_TYPE_F32, model_pb2.WEIGHT_TYPE_INT8))
            reply = inference_grpc.InferenceServiceStub(server.channel).Generate(
                v1.GenerateRequest(prompt="Cats", memory_uses=[v1.MemoryUse(memory="cats")],
                                   parameters=v1.GenerationParameters(max_tokens=1)))
            self.assertEqual(len(reply.samples), 1)

    @staticmethod
    def weights_of(server):
        served = inference_grpc.InferenceServiceStub(server.channel).GetModel(v1.GetModelRequest())
        memory = memory_grpc.MemoryServiceStub(server.channel).GetMemory(memory_pb.GetMemoryRequest(name="cats"))
        return served.weight_type, memory.weight_type

    def test_a_second_server_may_read_along(self):
        with server_process.Server(self.folder, model) as server:
            self.create(server, "cats")
            reader_folder = self.folder / "reader"
            reader_folder.mkdir()
            with server_process.Server(reader_folder, model, "--store-read-only", store=server.store) as reader:
                stub = memory_grpc.MemoryServiceStub(reader.channel)
                self.assertIn("read_only=true", reader.log())
                watch = stub.WatchMemories(memory_pb.WatchMemoriesRequest())
                self.assertEqual(next(watch).updated.name, "cats")
                with self.assertRaises(grpc.RpcError) as raised:
                    stub.DeleteMemory(memory_pb.DeleteMemoryRequest(name="cats"))
                self.assertEqual(raised.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
                self.create(server, "dogs")
                self.assertEqual(next(watch).WhichOneof("event"), "synced")
                self.assertIn("dogs", (event.updated.name for event in watch))
                watch.cancel()

    def test_quarantined_memories_are_logged_at_start(self):
        with server_process.Server(self.folder, model) as server:
            self.create(server, "cats")
            self.create(server, "dogs", b"Dogs run.")
            digest = memory_grpc.MemoryServiceStub(server.channel).GetMemory(
                memory_pb.GetMemoryRequest(name="cats")).digest
        file = server.store / "segments" / f"{digest}.mtm"
        with open(file, "r+b") as segment:
            segment.truncate(file.stat().st_size - 1)
        with server_process.Server(self.folder, model) as server:
            self.assertRegex(server.log(), rf'event=memory_quarantined memory=cats reason="[^"]*{digest}')
            self.assertRegex(server.log(), r"event=store_opened memories=2 quarantined=1 ")

    def test_exit_codes(self):
        for arguments in ([], ["serve"], ["no-such-command"], ["serve", "--threads", "x"], ["serve", "--model", "x", "--store", "y", "--weights", "fp64"],
                          ["serve", "--model", "x", "--store", "y", "--cache", "int8"],
                          ["serve", "--model", "x", "--store", "y", "--log-level", "loud"]):
            result = run(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertRegex(result.stderr, r"^mtm_server: [^\n]+\n$")
        store = self.folder / "store"
        for arguments in (["--model", "nowhere"], ["--model", model, "--device", "cuda:77"],
                          ["--model", model, "--device", "tpu"],
                          ["--model", model, "--device", "torch", "--weights", "fp16"],
                          ["--model", model, "--device", "torch", "--cache", "fp16"], ["--model", model, "--listen", "127.0.0.1:99999"],
                          ["--model", model, "--port-file", "/no/such/folder/port", "--listen", "127.0.0.1:0"]):
            result = run("serve", "--store", store, "--log-level", "off", *arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertRegex(result.stderr, r"^mtm_server: [^\n]+\n$")
        for arguments in (["--version"], ["--help"], ["serve", "--help"]):
            result = run(*arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(run("--version").stdout, r"^mtm_server \d+\.\d+\.\d+, built with LibTorch \d.*gRPC \d")
        self.assertIn("mtm_server serve --model", run("--help").stdout)

    def test_a_store_is_held_by_one_process(self):
        with server_process.Server(self.folder, model) as server:
            result = run("serve", "--model", model, "--store", server.store, "--listen", "127.0.0.1:0",
                         "--log-level", "off")
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"^mtm_server: [^\n]+\n$")


class FloatStorage:
    """Stands for torch.FloatStorage in a pickle."""


class SavedTensor:
    def __init__(self, rows):
        self.rows = rows

    def __reduce__(self):
        n, width = len(self.rows), len(self.rows[0])
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (
            FloatStorage(), 0, (n, width), (width, 1), False, collections.OrderedDict())


class TensorPickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, FloatStorage):
            return ("storage", sys.modules["torch"].FloatStorage, "0", "cpu", self.count)
        return None


def save_tensor(rows, file):
    """As torch.save writes one."""
    buffer = io.BytesIO()
    pickler = TensorPickler(buffer, protocol=2)
    pickler.count = sum(map(len, rows))
    pickler.dump(SavedTensor(rows))
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows))
        archive.writestr("archive/version", "3\n")


def pretend_torch():
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch._utils = utils
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2():
        raise NotImplementedError
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update({"torch": torch, "torch._utils": utils})


class ImportReferenceTest(FolderTest):
    TEXT = "Cats are good."  # 5 tokens

    def write_reference(self, n_tokens=5, n_layer=4, n_head=2, head_dim=8):
        pretend_torch()
        numbers = random.Random(3)
        folder = self.folder / "cats_store"
        for layer in range(n_layer):
            for head in range(n_head):
                for kind, sentinel in (("keyStore", float("-inf")), ("valueStore", 0.0)):
                    rows = [[sentinel] * head_dim]
                    rows += [[numbers.gauss(0, 1) for _ in range(head_dim)] for _ in range(n_tokens)]
                    save_tensor(rows, folder / kind / str(layer) / f"{head}.pt")
        (folder / "cats_store.txt").write_text(self.TEXT)
        return folder

    def import_from(self, folder, *flags):
        return run("import-reference", folder, "--model", model, "--store", self.folder / "store", *flags)

    def test_comes_in_and_is_used(self):
        result = self.import_from(self.write_reference())
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"^cats_store@[0-9a-f]{64} tokens=5 layers=4 bytes=\d+\n$")
        with server_process.Server(self.folder, model) as server:
            memory = memory_grpc.MemoryServiceStub(server.channel).GetMemory(
                memory_pb.GetMemoryRequest(name="cats_store"))
            self.assertEqual((memory.token_count, list(memory.leading_token_ids)), (5, [198]))
            self.assertEqual(list(memory.layers), [1, 2, 3, 4])
            request = v1.GenerateRequest(prompt="Dogs", memory_uses=[v1.MemoryUse(memory="cats_store")])
            request.parameters.trace.max_entries = 1000
            answer = inference_grpc.InferenceServiceStub(server.channel).Generate(request)
            texts = {neighbour.text for entry in answer.samples[0].trace for neighbour in entry.neighbours}
            self.assertLessEqual(texts, {"C", "ats", " are", " good", "."})
            self.assertTrue(texts)
        again = self.import_from(self.folder / "cats_store")
        self.assertEqual(again.returncode, 1)
        self.assertIn("cats_store", again.stderr)
        self.assertEqual(self.import_from(self.folder / "cats_store", "--name", "other").returncode, 0)

    def test_what_does_not_fit_is_refused_in_words(self):
        for shape, words in (({"n_tokens": 4}, "rows for 4 tokens, and its text has 5"), ({"n_layer": 3}, "3 layers"),
                             ({"head_dim": 4}, "2 heads of 4")):
            folder = self.write_reference(**shape)
            result = self.import_from(folder)
            self.assertEqual(result.returncode, 1)
            self.assertIn(words, result.stderr)
            self.assertRegex(result.stderr, r"^mtm_server: [^\n]+\n$")
            subprocess.run(["rm", "-r", folder], check=True)
        result = self.import_from(self.folder / "nowhere")
        self.assertEqual(result.returncode, 1)

    @unittest.skipUnless(REFERENCE.is_dir(), "the author's files are not here")
    def test_the_authors_memory_wants_a_model_of_its_shape(self):
        result = self.import_from(REFERENCE)
        self.assertEqual(result.returncode, 1)
        self.assertIn("12 layers, 12 heads of 64", result.stderr)

    @unittest.skipUnless(REFERENCE.is_dir(), "the author's files are not here")
    def test_the_authors_memory_comes_in(self):
        shape = server_process.write_model(self.folder / "gpt2", n_layer=12, n_head=12, n_embd=768, n_ctx=1024)
        result = run("import-reference", REFERENCE, "--model", shape, "--store", self.folder / "store", "--name", "cat")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"^cat@[0-9a-f]{64} tokens=90 layers=12 ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
