# SPDX-License-Identifier: Apache-2.0
"""deploy/haproxy for real: HAProxy before a server that writes and two that serve its folder, while clients generate."""
import collections
import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import grpc

sys.path.insert(0, str(pathlib.Path(os.environ["MTM_SOURCE"]) / "tests/rpc"))
import raw_http2  # noqa: E402
import server_process  # noqa: E402

CONFIG = server_process.SOURCE / "deploy/haproxy/haproxy.cfg"
CLIENT_CONFIG = server_process.SOURCE / "deploy/haproxy/client_service_config.json"
NAMES = ("writer", "replica1", "replica2")
# The ports of the configuration: of gRPC and of readiness.
PORTS = {"writer": (50060, 9460), "replica1": (50061, 9461), "replica2": (50062, 9462)}
BALANCER, STATUS = 50051, 9465
CLIENTS = 6
MEMORIES = [f"cats{i}" for i in range(8)]
SECONDS = 120  # at most, on a loaded machine, for what should take one or two


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(condition, what):
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {SECONDS} s still not: {what}")
        time.sleep(0.02)


def setUpModule():
    global folder, ports, servers, v1, memory_pb, inference_grpc, memory_grpc
    folder = server_process.module_folder()
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import inference_service_pb2_grpc as inference_grpc
    from mtm.v1 import memory_service_pb2 as memory_pb
    from mtm.v1 import memory_service_pb2_grpc as memory_grpc
    fixed = [BALANCER, STATUS, *itertools.chain(*PORTS.values())]
    ports = dict(zip(fixed, free_ports(len(fixed))))
    start_servers(server_process.write_model(folder / "small"))
    start_balancer()


def start_servers(model):
    servers.clear()
    for name in NAMES:
        own = folder / name
        own.mkdir()
        port, ready_port = (ports[each] for each in PORTS[name])
        flags = ["--metrics-listen", f"127.0.0.1:{ready_port}", "--shutdown-grace-ms", "60000"]
        if name != "writer":
            flags.append("--store-read-only")
        servers[name] = server_process.Server(own, model, *flags, store=folder / "store", listen=f"127.0.0.1:{port}")
        servers[name].__enter__()
        unittest.addModuleCleanup(servers[name].__exit__)


def start_balancer():
    text = CONFIG.read_text()
    for fixed, port in ports.items():
        assert str(fixed) in text, fixed
        text = text.replace(str(fixed), str(port))
    config = folder / "haproxy.cfg"
    config.write_text(text)
    with open(folder / "haproxy.log", "wb") as log:
        balancer = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=log, stderr=log)
    unittest.addModuleCleanup(lambda: (balancer.terminate(), balancer.wait(SECONDS)))
    wait_until(lambda: is_open(ports[BALANCER]), "HAProxy listens")


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


servers = {}


def connect():
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", CLIENT_CONFIG.read_text())]
    return grpc.insecure_channel(f"127.0.0.1:{ports[BALANCER]}", options)


def request_of(memory=None, **parameters):
    request = v1.GenerateRequest(prompt="Dogs")
    if memory:
        request.memory_uses.add(memory=memory)
    request.parameters.sampling.seed = 7
    request.parameters.ignore_end_of_text = True
    request.parameters.max_tokens = 16
    for name, value in parameters.items():
        setattr(request.parameters, name, value)
    return request


def metadata_of(memory):
    return (("x-mtm-memory", memory),) if memory else ()


def generate(stub, memory=None):
    """The answer, and who gave it."""
    response, call = stub.Generate.with_call(request_of(memory), metadata=metadata_of(memory), timeout=SECONDS)
    return response, dict(call.initial_metadata())["x-mtm-server"]


def write(method, spec, text):
    request = {"CreateMemory": memory_pb.CreateMemoryRequest, "AppendToMemory": memory_pb.AppendToMemoryRequest}[method]
    with connect() as channel:
        stub = memory_grpc.MemoryServiceStub(channel)
        events = list(getattr(stub, method)(iter([request(spec=spec), request(text=text)]), timeout=SECONDS))
    return events[-1].memory


def create(name, text=b"Cats sleep."):
    return write("CreateMemory", memory_pb.CreateMemoryRequest.Spec(name=name), text)


def digest_at(name, memory):
    stub = memory_grpc.MemoryServiceStub(servers[name].channel)
    try:
        return stub.GetMemory(memory_pb.GetMemoryRequest(name=memory), timeout=SECONDS).digest
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return None


class Load:
    """Clients that generate without a pause, with memories and without, until the end of a with block."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answers, self.faults, self.by = {}, [], collections.Counter()
        self.stop = threading.Event()

    def __enter__(self):
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(CLIENTS)]
        self.threads.append(threading.Thread(target=self.run_mtm))
        for thread in self.threads:
            thread.start()
        try:
            self.wait_for_all()
        except AssertionError:
            self.__exit__()
            raise
        return self

    def run(self, number):
        with connect() as channel:
            stub = inference_grpc.InferenceServiceStub(channel)
            for memory in itertools.islice(itertools.cycle([*MEMORIES, None]), number, None):
                if self.stop.is_set():
                    return
                try:
                    response, server = generate(stub, memory)
                except grpc.RpcError as error:
                    with self.lock:
                        self.faults.append(f"{memory}: {error.code()} {error.details()}")
                    continue
                with self.lock:
                    self.by[server] += 1
                    # Whoever answers, it is the same.
                    if self.answers.setdefault(memory, response.samples[0].token_ids) != response.samples[0].token_ids:
                        self.faults.append(f"{memory}: {server} answered something else")

    def run_mtm(self):
        address = f"127.0.0.1:{ports[BALANCER]}"
        for memory in itertools.cycle(MEMORIES):
            if self.stop.is_set():
                return
            result = subprocess.run([os.environ["MTM_CLIENT"], "--server", address, "score", "--memory", memory,
                                     "Dogs", " run in the park"], text=True, capture_output=True, timeout=SECONDS)
            if result.returncode != 0:
                with self.lock:
                    self.faults.append(f"mtm: {result.stderr}")

    def wait_for_all(self):
        """Until both replicas have answered again."""
        with self.lock:
            before = self.by.copy()
        wait_until(lambda: all(self.by[name] > before[name] + 10 for name in NAMES[1:]), f"both serve; {self.by}")

    def wait_for(self, name, count):
        before = self.by[name]
        wait_until(lambda: self.by[name] >= before + count, f"{name} serves; {self.by}")

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


class ReplicasTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        wait_until(lambda: all(is_open(ports[PORTS[name][1]]) for name in NAMES), "all are ready")
        for memory in MEMORIES:
            create(memory)
        wait_until(lambda: all(digest_at(name, memory) for name in NAMES for memory in MEMORIES), "all have the memories")

    def test_the_configuration_is_valid_as_it_stands(self):
        result = subprocess.run(["haproxy", "-c", "-f", str(CONFIG)], text=True, capture_output=True, timeout=60)
        self.assertEqual((result.returncode, result.stdout.strip()), (0, "Configuration file is valid"), result.stderr)

    def test_requests_with_one_memory_stay_on_one_replica(self):
        with connect() as channel:
            stub = inference_grpc.InferenceServiceStub(channel)
            by_memory = {memory: {generate(stub, memory)[1] for _ in range(4)} for memory in MEMORIES}
            self.assertEqual({len(replicas) for replicas in by_memory.values()}, {1}, by_memory)
            self.assertEqual(set.union(*by_memory.values()), set(NAMES[1:]))
            self.assertEqual({generate(stub)[1] for _ in range(4)}, set(NAMES[1:]))

    def test_nobody_notices_that_a_replica_is_killed(self):
        with Load() as load:
            servers["replica1"].stop(signal.SIGKILL)
            load.wait_for("replica2", 50)
            servers["replica1"].__enter__()
            load.wait_for_all()
        self.assertEqual(load.faults, [])

    def test_nobody_notices_that_a_replica_is_drained(self):
        with Load() as load, connect() as channel:
            # More tokens than are made before the server is told to stop.
            request = request_of(MEMORIES[0], mode=v1.MODE_EXACT, max_tokens=300)
            stream = inference_grpc.InferenceServiceStub(channel).StreamGenerate(
                request, metadata=metadata_of(MEMORIES[0]), timeout=SECONDS)
            next(stream)
            drained = dict(stream.initial_metadata())["x-mtm-server"]
            other = next(name for name in NAMES[1:] if name != drained)
            servers[drained].process.send_signal(signal.SIGTERM)
            load.wait_for(other, 50)
            self.assertEqual(sum(event.HasField("token") for event in stream), 300)
            self.assertEqual(servers[drained].process.wait(SECONDS), 0)
            servers[drained].__enter__()
            load.wait_for_all()
        self.assertEqual(load.faults, [])

    def test_a_new_version_reaches_every_replica(self):
        first = create("growing").digest
        wait_until(lambda: all(digest_at(name, "growing") == first for name in NAMES), "all have the memory")
        with Load():
            second = write("AppendToMemory", memory_pb.AppendToMemoryRequest.Spec(name="growing"), b"Dogs run.").digest
            self.assertNotEqual(first, second)
            wait_until(lambda: all(digest_at(name, "growing") == second for name in NAMES), "all have the new version")
        for name in NAMES[1:]:
            stub = inference_grpc.InferenceServiceStub(servers[name].channel)
            response = stub.Generate(request_of("growing"), timeout=SECONDS)
            self.assertEqual(response.applied.memory_uses[0].memory, f"growing@{second}")

    def test_headers_without_end_do_not_reach_a_server(self):
        sent = 0
        with raw_http2.Connection(ports[BALANCER]) as connection, self.assertRaises(ConnectionError):
            connection.send(raw_http2.HEADERS, raw_http2.request_headers("InferenceService/Generate"), 0, 1)
            while sent < 64 << 20:
                connection.send(raw_http2.CONTINUATION, raw_http2.header(b"x", b"y" * 16_000), 0, 1)
                sent += 16_000
        with connect() as channel:
            generate(inference_grpc.InferenceServiceStub(channel))


if __name__ == "__main__":
    unittest.main(verbosity=2)
