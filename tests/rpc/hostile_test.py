# SPDX-License-Identifier: Apache-2.0
"""What a client may send to do harm, against a mtm_server process with tokens; prints a table of what came back.

After each attempt the server has to answer an honest client soon, and nothing may lie where it was not put."""

import concurrent.futures
import contextlib
import gzip
import json
import hashlib
import os
import pathlib
import random
import socket
import struct
import time
import unittest

import grpc

import certificates
import raw_http2
import server_process
from raw_http2 import Connection

TOKEN = "0123456789abcdef0123456789abcdef"
AUTHORIZATION = (("authorization", f"Bearer {TOKEN}"),)
ADMIN_TOKEN = "fedcba9876543210fedcba9876543210"
ADMIN_AUTHORIZATION = (("authorization", f"Bearer {ADMIN_TOKEN}"),)
SECRET = "xyzzy-plugh"  # in every prompt, and in no log
MEBIBYTE = 1 << 20
# Freed memory that AddressSanitizer holds back, where the server has it, is no growth.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8"

SEED = int(os.environ.get("MTM_TEST_SEED", random.randrange(1 << 32)))
OWN_FAULT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION,
             grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.OUT_OF_RANGE}
rows = []  # (what was tried, what came back)


def setUpModule():
    global folder, server, v1, memory_pb, methods
    folder = server_process.module_folder()
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import memory_service_pb2 as memory_pb
    from mtm.v1 import model_pb2, memory_pb2  # noqa: F401: their messages are looked up by name
    access_file = folder / "access.json"
    access_file.write_text(json.dumps({"tokens": [
        {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "rights": {namespace: "admin"}}
        for name, token, namespace in (("team", TOKEN, "team"), ("admin", ADMIN_TOKEN, "*"))]}))
    server = server_process.Server(folder, server_process.write_model(folder / "small"), "--access-file",
                                   str(access_file))
    unittest.enterModuleContext(server)
    methods = [method for file, name in ((v1, "InferenceService"), (memory_pb, "MemoryService"))
               for method in file.DESCRIPTOR.services_by_name[name].methods]


def tearDownModule():
    print(f"\nseed {SEED}\n\n| tried | came back |\n| --- | --- |")
    for tried, outcome in rows:
        print(f"| {tried} | {outcome} |")


def mebibytes(process_server, field):
    """Of proc(5)'s /proc/PID/status."""
    for line in pathlib.Path(f"/proc/{process_server.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    return 0


def resident_mebibytes():
    return mebibytes(server, "VmRSS")


def path_of(method):
    return f"/{method.containing_service.full_name}/{method.name}"


def codes_in_words(codes):
    return ", ".join(sorted({code.name for code in codes}))


class HostileTest(unittest.TestCase):
    last_details = ""

    def setUp(self):
        self.assert_serves()

    def tearDown(self):
        self.assert_serves()

    def call(self, method, *messages, metadata=AUTHORIZATION, channel=None, timeout=120, **options):
        """The code that raw messages come to."""
        stream = (channel or server.channel).stream_stream(path_of(method) if hasattr(method, "name") else method)
        try:
            for _ in stream(iter(messages), metadata=metadata, timeout=timeout, **options):
                pass
        except grpc.RpcError as error:
            self.last_details = error.details()
            return error.code()
        return grpc.StatusCode.OK

    def assert_serves(self):
        self.assertIsNone(server.process.poll(), server.log()[-2000:])
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            code = self.call("/mtm.v1.InferenceService/GetModel", b"", channel=channel, timeout=30)
        self.assertEqual(code, grpc.StatusCode.OK)

    def row(self, tried, outcome):
        rows.append((tried, outcome))

    def generate_request(self, **parameters):
        request = v1.GenerateRequest(prompt=f"Tell me of {SECRET}")
        request.parameters.max_tokens = 2
        for name, value in parameters.items():
            setattr(request.parameters, name, value)
        return request


class ProtobufTest(HostileTest):
    def test_bytes_that_are_no_message(self):
        broken = [b"\x07", b"\x0a\xff", b"\xff" * 11, b"\x0a\x80\x80\x80\x80\x08", b"\x0b" * 50, b"\x0a\x01\xff"]
        codes = set()
        for method in methods:
            for payload in broken:
                code = self.call(method, payload)
                # Groups and bytes of fields that a message does not have are skipped.
                self.assertIn(code, OWN_FAULT | {grpc.StatusCode.OK}, (method.name, payload, self.last_details))
                codes.add(code)
        self.row(f"{len(broken)} byte strings that are no message, to each of {len(methods)} rpcs", codes_in_words(codes))

    def test_messages_with_bytes_changed(self):
        numbers = random.Random(SEED)
        seeds = [self.generate_request().SerializeToString(),
                 memory_pb.CreateMemoryRequest(spec=memory_pb.CreateMemoryRequest.Spec(
                     name="team/x", layers=[1, 2], labels={"a": "b"})).SerializeToString(),
                 memory_pb.ForgetFromMemoryRequest(name="team/x", text="word").SerializeToString(),
                 memory_pb.ImportMemoryRequest(spec=memory_pb.ImportMemoryRequest.Spec(
                     name="team/x", digest="0" * 64, total_bytes=1000)).SerializeToString()]
        codes, n = set(), 0
        for method in methods:
            if method.name == "WatchMemories":  # has no end where the bytes happen to be good
                continue
            for _ in range(60):
                payload = bytearray(numbers.choice(seeds))
                for _ in range(numbers.randint(1, 6)):
                    payload[numbers.randrange(len(payload))] = numbers.randrange(256)
                if numbers.random() < 0.3:
                    del payload[numbers.randrange(len(payload)):]
                # By whom no right keeps from anything: a changed name may be in any namespace.
                code = self.call(method, bytes(payload), metadata=ADMIN_AUTHORIZATION, timeout=60)
                allowed = OWN_FAULT | {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED,
                                       grpc.StatusCode.DEADLINE_EXCEEDED}
                self.assertIn(code, allowed, (SEED, method.name, bytes(payload), self.last_details))
                codes.add(code)
                n += 1
        self.row(f"{n} messages with bytes changed or cut off, over all rpcs", codes_in_words(codes))

    def test_metadata_nested_deeply(self):
        value = b"\x1a\x00"
        depth = 20_000
        inner = b""
        for _ in range(depth):  # Value.list_value { Value ...
            inner = b"\x32" + self.varint(len(inner)) + inner
            inner = b"\x0a" + self.varint(len(inner)) + inner
        fields = b"\x0a\x01a\x12" + self.varint(len(inner)) + inner
        struct_ = b"\x0a" + self.varint(len(fields)) + fields
        spec = b"\x0a\x06team/x" + b"\x42" + self.varint(len(struct_)) + struct_
        code = self.call("/mtm.v1.MemoryService/CreateMemory", b"\x0a" + self.varint(len(spec)) + spec + value[:0])
        self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT, self.last_details)
        self.row(f"metadata nested {depth} deep", code.name)

    @staticmethod
    def varint(value):
        encoded = bytearray()
        while value >= 128:
            encoded.append(value % 128 + 128)
            value //= 128
        return bytes([*encoded, value])

    def test_a_message_above_the_limit(self):
        request = v1.TokenizeRequest(text="x" * (16 * MEBIBYTE)).SerializeToString()
        code = self.call("/mtm.v1.InferenceService/Tokenize", request)
        self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.row("a message above --max-message-bytes", code.name)

    def test_a_message_that_grows_when_unpacked(self):
        before = resident_mebibytes()
        payload = v1.TokenizeRequest(text="x" * (128 * MEBIBYTE)).SerializeToString()
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            code = self.call("/mtm.v1.InferenceService/Tokenize", payload, compression=compression)
            self.assertEqual(code, grpc.StatusCode.UNIMPLEMENTED)
        growth = resident_mebibytes() - before
        self.row("128 MiB that gzip or deflate made little of", f"{code.name}; memory grew by {max(growth, 0)} MiB")
        self.assertLess(growth, 64)

    def test_messages_of_more_than_all_that_may_come_in(self):
        with server_process.Scratch() as own, server_process.Server(
                own, server_process.TINY_MODEL, "--max-network-bytes", "32MiB") as bounded:
            payload = b"x" * (200 * MEBIBYTE)
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]

            def send(_):
                # gRPC ends a connection without a request, as one that has just come, where it wants memory back:
                # UNAVAILABLE says to try again.
                for _ in range(10):
                    with grpc.insecure_channel(bounded.address, options) as channel:
                        code = self.call("/mtm.v1.InferenceService/Tokenize", payload, channel=channel)
                    if code != grpc.StatusCode.UNAVAILABLE:
                        break
                return code
            before = mebibytes(bounded, "VmHWM")
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                codes = set(pool.map(send, range(3)))
            growth = mebibytes(bounded, "VmHWM") - before
        self.assertEqual(codes, {grpc.StatusCode.RESOURCE_EXHAUSTED})
        self.assertLess(growth, 150)
        self.row("3 messages of 200 MiB to --max-network-bytes 32MiB", f"{codes_in_words(codes)}; memory grew by {growth} MiB")

    def test_a_text_above_the_limit(self):
        spec = memory_pb.CreateMemoryRequest(spec=memory_pb.CreateMemoryRequest.Spec(name="team/large"))
        part = memory_pb.CreateMemoryRequest(text=b"word " * (2 * MEBIBYTE)).SerializeToString()
        code = self.call("/mtm.v1.MemoryService/CreateMemory", spec.SerializeToString(), *([part] * 8))
        self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.row("a text above --max-text-bytes", code.name)

    def test_numbers_at_their_limits(self):
        requests = [self.generate_request(max_tokens=2**31 - 1), self.generate_request(sample_count=2**31 - 1),
                    self.generate_request(max_tokens=100_000, sample_count=64, top_logprobs=100),
                    self.generate_request(max_tokens=-2**31)]
        for field, value in (("k", 2**31 - 1), ("memory_fraction", float("nan")), ("score_scale", float("inf"))):
            request = self.generate_request()
            setattr(request.memory_uses.add(memory="team/none"), field, value)
            requests.append(request)
        codes = set()
        for request in requests:
            codes.add(self.call("/mtm.v1.InferenceService/Generate", request.SerializeToString()))
        self.assertLessEqual(codes, OWN_FAULT)
        self.row("numbers at the ends of their types, NaN, infinity", codes_in_words(codes))


class NameTest(HostileTest):
    NAMES = [b"", b".", b"..", b"/", b"../x", b"team/../x", b"team/./x", b"/etc/passwd", b"team//x", b"team/x/",
             b"team%2fx", b"team%2Fx", b"..%2fx", b"team\\x", b"team/x\0", b"\0", b"team/x\n", b" team/x", b"TEAM/x",
             b"team/x@../../x", b"team/x@", b"team/x@" + b"g" * 8, b"team/x@" + b"0" * 65, b"@00000000",
             "\uff54eam/x".encode(), "te\u0430m/x".encode(), "team\u2215x".encode(), "team\u2024\u2024/x".encode(),
             b"team/\xff\xfe", b"a/b/c/d/e", b"team/" + b"x" * 64, b"team/" + b"x" * MEBIBYTE, b"-x", b"~", b"$HOME",
             b"team/*", b"con:", b"memories.json", b"team/..x"]
    LEGAL = {b"memories.json"}

    def files(self):
        return {path.relative_to(folder) for path in folder.rglob("*") if "store/" not in f"{path.relative_to(folder)}/"}

    def test_names_that_are_paths(self):
        before = self.files()
        field = lambda number, name: bytes([number << 3 | 2]) + ProtobufTest.varint(len(name)) + name
        codes = set()
        for name in self.NAMES:
            attempts = [(method, field(1, name)) for method in (
                "GetMemory", "DeleteMemory", "UpdateMemory", "LoadMemory", "UnloadMemory", "VerifyMemory", "RebuildIndex",
                "ExportMemory")]
            attempts += [("ForgetFromMemory", field(1, name) + b"\x1a\x01x"),
                         ("RollbackMemory", field(1, name) + field(2, b"0" * 8)),
                         ("CopyMemory", field(1, b"team/x") + field(2, name)),
                         ("CopyMemory", field(1, name) + field(2, b"team/y"))]
            for method in ("CreateMemory", "ReplaceMemory", "AppendToMemory"):
                attempts.append((method, field(1, field(1, name))))
            attempts.append(("ImportMemory", field(1, field(1, name) + field(2, b"0" * 64) + b"\x18\x01")))
            for method, payload in attempts:
                code = self.call(f"/mtm.v1.MemoryService/{method}", payload)
                expected = ({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED} if name in self.LEGAL
                            else {grpc.StatusCode.INVALID_ARGUMENT})
                if name.startswith(b"team/x@") and code == grpc.StatusCode.NOT_FOUND:
                    self.fail((name, method))
                self.assertIn(code, expected, (name[:40], method, self.last_details))
                self.assertLess(len(self.last_details), 1100)
                codes.add(code)
            use = field(4, field(1, name))
            code = self.call("/mtm.v1.InferenceService/Generate", field(1, b"Hi") + use)
            self.assertIn(code, expected, (name[:40], "Generate"))
        self.assertEqual(self.files(), before)
        self.row(f"{len(self.NAMES)} names as ../x, team%2fx, NUL, look-alikes of letters and slashes, a MiB long, "
                 "to every rpc that takes one", codes_in_words(codes) + "; no file outside the store")


class TokenTest(HostileTest):
    def test_tokens_that_are_none(self):
        good = f"Bearer {TOKEN}"
        hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
        tries = [(), (("authorization", ""),), (("authorization", "Bearer"),), (("authorization", f"Bearer {TOKEN[:-1]}"),),
                 (("authorization", f"Bearer {TOKEN}0"),), (("authorization", f"Bearer {TOKEN.upper()}"),),
                 (("authorization", f"Bearer {hashed}"),), (("authorization", f"Basic {TOKEN}"),),
                 (("authorization", good), ("authorization", good)), (("authorization-bin", good.encode()),),
                 (("x-authorization", good),), (("authorization", "Bearer " + "x" * 6000),)]
        for metadata in tries:
            code = self.call("/mtm.v1.InferenceService/GetModel", b"", metadata=metadata)
            self.assertEqual(code, grpc.StatusCode.UNAUTHENTICATED, metadata)
        self.row(f"{len(tries)} tokens: none, cut off, longer, in other letters, its hash, twice, of 6 kB",
                 "UNAUTHENTICATED")

    def test_messages_behind_no_token(self):
        codes = {self.call(method, b"\x07", metadata=()) for method in methods}
        self.assertEqual(codes, {grpc.StatusCode.UNAUTHENTICATED})
        self.row("broken messages without a token, to every rpc", codes_in_words(codes))


class CertificateTest(unittest.TestCase):
    def test_clients_without_a_good_certificate(self):
        with server_process.Scratch() as own:
            ca, other = certificates.Authority(own, "ca"), certificates.Authority(own, "other")
            late, stranger, good = ca.issue("late", days=-1), other.issue("stranger"), ca.issue("good")
            selfmade = certificates.Authority(own, "selfmade")
            with server_process.Server(own, server_process.TINY_MODEL, *ca.issue("server").flags(), "--tls-client-ca",
                                       str(ca.certificate)) as tls_server:
                def code(client, root=ca):
                    credentials = grpc.ssl_channel_credentials(
                        root.certificate.read_bytes(), client.key.read_bytes() if client else None,
                        client.certificate.read_bytes() if client else None)
                    with grpc.secure_channel(tls_server.address, credentials,
                                             [("grpc.use_local_subchannel_pool", 1)]) as channel:
                        try:
                            channel.unary_unary("/mtm.v1.InferenceService/GetModel")(b"", timeout=30)
                        except grpc.RpcError as error:
                            return error.code()
                    return grpc.StatusCode.OK
                for what, client in (("no client certificate", None), ("an expired one", late),
                                     ("one of another CA", stranger), ("one signed by itself", selfmade)):
                    self.assertEqual(code(client), grpc.StatusCode.UNAVAILABLE, what)
                    rows.append((f"TLS with {what}", "handshake refused"))
                with grpc.insecure_channel(tls_server.address) as channel:
                    with self.assertRaises(grpc.RpcError) as raised:
                        channel.unary_unary("/mtm.v1.InferenceService/GetModel")(b"", timeout=30)
                    self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)
                rows.append(("no TLS", "connection closed"))
                stalled = [socket.create_connection(("127.0.0.1", tls_server.port)) for _ in range(200)]
                self.assertEqual(code(good), grpc.StatusCode.OK)
                begin = time.monotonic()
                for connection in stalled:
                    connection.settimeout(60)
                    self.assertEqual(connection.recv(1), b"")
                    connection.close()
                self.assertLess(time.monotonic() - begin, 40)
                rows.append(("200 handshakes that are never begun", "closed after 10 s; others are served meanwhile"))


class Http2Test(HostileTest):
    GENERATE = "InferenceService/Generate"

    def authorized(self, method, *extra):
        return raw_http2.request_headers(method, (b"authorization", f"Bearer {TOKEN}".encode()), *extra)

    def test_bytes_that_are_no_http2(self):
        for junk in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"\x16\x03\x01" + b"\0" * 100):
            with Connection(server.port, preface=None) as connection:
                connection.socket.sendall(junk)
                self.assertIn(connection.outcome().split()[0], ("connection", "GOAWAY"))
        self.row("HTTP/1.1, random bytes, a TLS hello to a port without TLS", "connection closed")

    def test_frames_that_break_the_protocol(self):
        outcomes = set()
        for frame in (Connection.frame(raw_http2.HEADERS, b"\xff" * 50, raw_http2.END_HEADERS, 1),
                      Connection.frame(raw_http2.DATA, b"x", 0, 0),
                      Connection.frame(raw_http2.SETTINGS, b"12345"),
                      Connection.frame(raw_http2.WINDOW_UPDATE, struct.pack(">I", 0)),
                      Connection.frame(raw_http2.HEADERS, b"", raw_http2.END_HEADERS, 2),
                      struct.pack(">I", 0xFFFFFF)[1:] + b"\0\0" + b"\0\0\0\1"):
            with Connection(server.port) as connection:
                connection.socket.sendall(frame)
                outcomes.add(connection.outcome(timeout=3))
        self.row("frames of a wrong size, on a wrong stream, with broken HPACK", ", ".join(sorted(outcomes)))

    def test_a_length_of_4_gib(self):
        before = resident_mebibytes()
        with Connection(server.port) as connection:
            connection.send(raw_http2.HEADERS, self.authorized(self.GENERATE), raw_http2.END_HEADERS, 1)
            connection.send(raw_http2.DATA, raw_http2.message(b"x", length=2**32 - 1), 0, 1)
            self.assertEqual(connection.outcome(timeout=1), "nothing")
            growth = resident_mebibytes() - before
        self.assertLess(growth, 64)
        self.row("a message that says it has 4 GiB", f"waited for; memory grew by {max(growth, 0)} MiB")

    def send_headers_without_end(self, size):
        """Mebibytes by which a server of its own grew. It serves others afterwards."""
        with server_process.Scratch() as own, server_process.Server(own, server_process.TINY_MODEL) as flooded:
            before, sent = mebibytes(flooded, "VmHWM"), 0
            with Connection(flooded.port) as connection, contextlib.suppress(ConnectionError):
                connection.send(raw_http2.HEADERS, raw_http2.request_headers(self.GENERATE), 0, 1)
                while sent < size * MEBIBYTE:
                    connection.send(raw_http2.CONTINUATION, raw_http2.header(b"x", b"y" * 16_000), 0, 1)
                    sent += 16_000
            with grpc.insecure_channel(flooded.address) as channel:
                self.assertEqual(self.call("/mtm.v1.InferenceService/GetModel", b"", channel=channel),
                                 grpc.StatusCode.OK)
            return mebibytes(flooded, "VmHWM") - before

    def test_headers_without_end_leave_others_served(self):
        growth = self.send_headers_without_end(64)
        self.row("64 MiB of headers that never end", f"memory grew by {growth} MiB (CVE-2023-33953); others are served")

    @unittest.expectedFailure
    def test_headers_without_end_are_not_kept(self):
        """gRPC before 1.53.2 keeps them all (CVE-2023-33953): deploy/README.md says what to put before it."""
        self.assertLess(self.send_headers_without_end(256), 64)

    def test_large_headers(self):
        code = self.call("/mtm.v1.InferenceService/GetModel", b"", metadata=AUTHORIZATION + (("x", "y" * MEBIBYTE),))
        self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.row("a MiB of metadata", code.name)

    def test_pings(self):
        with Connection(server.port) as connection:
            try:
                for _ in range(100_000):
                    connection.send(raw_http2.PING, b"12345678")
            except ConnectionError:
                pass
            outcome = connection.outcome()
        self.assertIn(outcome, ("GOAWAY ENHANCE_YOUR_CALM", "connection closed"))
        self.row("100,000 pings", outcome)

    def test_settings(self):
        with Connection(server.port) as connection:
            connection.socket.settimeout(20)
            try:
                for _ in range(100_000):
                    connection.send(raw_http2.SETTINGS, struct.pack(">HI", 4, 65_535))
            except (ConnectionError, TimeoutError):
                pass
            self.assert_serves()
        self.row("100,000 changes of settings, answers not read", "others are served meanwhile")

    def test_requests_that_are_reset_at_once(self):
        headers, n = self.authorized(self.GENERATE), 20_000
        body = raw_http2.message(self.generate_request(max_tokens=1000).SerializeToString())
        begin = time.monotonic()
        with Connection(server.port) as connection:
            try:
                for i in range(n):
                    stream = 2 * i + 1
                    connection.socket.sendall(
                        Connection.frame(raw_http2.HEADERS, headers, raw_http2.END_HEADERS, stream)
                        + Connection.frame(raw_http2.DATA, body, raw_http2.END_STREAM, stream)
                        + Connection.frame(raw_http2.RST_STREAM, struct.pack(">I", 8), 0, stream))
            except ConnectionError:
                pass
            self.assert_serves()
        self.assert_serves()
        self.assertLess(time.monotonic() - begin, 120)
        self.row(f"{n} generations, each reset at once", "all are given up; others are served meanwhile")

    def test_more_streams_than_allowed(self):
        with Connection(server.port) as connection:
            connection.acknowledge_settings()
            for i in range(1200):
                connection.send(raw_http2.HEADERS, self.authorized("MemoryService/CreateMemory"), raw_http2.END_HEADERS,
                                2 * i + 1)
            outcome = connection.outcome()
            self.assert_serves()
        self.assertEqual(outcome, "an error in the trailers")
        self.row("1,200 streams at once over one connection", "UNAVAILABLE for all of them; others are served")

    def test_connections_that_say_nothing(self):
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            connections = list(pool.map(lambda _: socket.create_connection(("127.0.0.1", server.port)), range(500)))
        self.assert_serves()
        begin = time.monotonic()
        for connection in connections:
            connection.settimeout(60)
            try:
                while connection.recv(1 << 16):
                    pass
            except ConnectionError:
                pass
            connection.close()
        self.assertLess(time.monotonic() - begin, 40)
        self.row("500 connections that say nothing", "closed after 10 s; others are served meanwhile")

    def test_readers_that_do_not_read(self):
        request = self.generate_request(max_tokens=100_000, ignore_end_of_text=True, mode=v1.MODE_EXACT)
        connections = []
        for _ in range(8):
            connection = Connection(server.port)
            connection.send(raw_http2.SETTINGS, struct.pack(">HI", 4, 0))  # no room for a byte of any stream
            connection.send(raw_http2.HEADERS, self.authorized("InferenceService/StreamGenerate"),
                            raw_http2.END_HEADERS, 1)
            connection.send(raw_http2.DATA, raw_http2.message(request.SerializeToString()), raw_http2.END_STREAM, 1)
            connections.append(connection)
        code = self.call("/mtm.v1.InferenceService/Generate", self.generate_request().SerializeToString())
        self.assertEqual(code, grpc.StatusCode.OK)
        for connection in connections:
            connection.socket.close()
        self.row("8 endless streams whose readers do not read", "they rest; others are served meanwhile")

    def test_messages_that_never_end(self):
        before, connections = resident_mebibytes(), []
        part = b"x" * 16_384
        for _ in range(20):  # without a token: a message is taken in before it is known who sends it
            connection = Connection(server.port)
            connection.socket.settimeout(1)
            try:
                for i in range(10):
                    stream = 2 * i + 1
                    connection.send(raw_http2.HEADERS, raw_http2.request_headers(self.GENERATE), raw_http2.END_HEADERS,
                                    stream)
                    connection.send(raw_http2.DATA, raw_http2.message(part[:16_000], length=15 * MEBIBYTE), 0, stream)
                    connection.send(raw_http2.WINDOW_UPDATE, struct.pack(">I", MEBIBYTE), 0, stream)
            except (ConnectionError, TimeoutError):
                pass
            connections.append(connection)
        self.assert_serves()
        growth = resident_mebibytes() - before
        for connection in connections:
            connection.socket.close()
        self.assertLess(growth, 512)
        self.row("200 messages of 15 MiB that are never finished", f"memory grew by {max(growth, 0)} MiB; others are served")


class LogTest(HostileTest):
    def test_no_prompt_and_no_token_is_in_the_log(self):
        self.call("/mtm.v1.InferenceService/Generate", self.generate_request().SerializeToString())
        self.call("/mtm.v1.InferenceService/Generate", self.generate_request(max_tokens=0).SerializeToString())
        self.call("/mtm.v1.InferenceService/Generate", v1.GenerateRequest(
            prompt=SECRET, memory_uses=[v1.MemoryUse(memory=SECRET.upper())]).SerializeToString())
        log = server.log()
        for word in (SECRET, SECRET.upper(), TOKEN, TOKEN[:16]):
            self.assertNotIn(word, log)
        self.assertNotIn("level=error", log)
        self.row("prompts, tokens, names that are none", "in no line of the log")


def load_tests(loader, *_):
    """The log is looked at last."""
    return unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in (
        ProtobufTest, NameTest, TokenTest, CertificateTest, Http2Test, LogTest))


if __name__ == "__main__":
    unittest.main(verbosity=2)
