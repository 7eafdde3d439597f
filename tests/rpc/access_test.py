# SPDX-License-Identifier: Apache-2.0
"""Tokens and rights, on a mtm_server process with TLS: who may do what, and what the others can find out."""

import asyncio
import hashlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
import unittest

import grpc

import certificates
import server_process

OK = grpc.StatusCode.OK
NOT_FOUND = grpc.StatusCode.NOT_FOUND
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED

TEXT = "Cats are small animals. They sleep in the sun all day."
RIGHTS = {"root": {"*": "admin"}, "reader": {"team": "read"}, "writer": {"team": "write"}, "admin": {"team": "admin"},
          "stranger": {"other": "admin"}, "nobody": {}}


def write_access(tokens):
    """`tokens`: names, or pairs of a name and a token that is not the name's own."""
    entries = []
    for entry in tokens:
        name, token = entry if isinstance(entry, tuple) else (entry, token_of(entry))
        entries.append({"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "rights": RIGHTS[name]})
    new = access_file.with_suffix(".new")
    new.write_text(json.dumps({"tokens": entries}))
    os.replace(new, access_file)


def token_of(name):
    return f"the-token-of-{name}"


def setUpModule():
    global folder, access_file, ca, server, v1, memory_pb, inference_grpc, memory_grpc
    folder = server_process.module_folder()
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import inference_service_pb2_grpc as inference_grpc
    from mtm.v1 import memory_service_pb2 as memory_pb
    from mtm.v1 import memory_service_pb2_grpc as memory_grpc
    ca = certificates.Authority(folder, "ca")
    access_file = folder / "access.json"
    write_access(RIGHTS)
    server = server_process.Server(folder, server_process.write_model(folder / "small"), "--access-file",
                                   str(access_file), *ca.issue("server").flags(), credentials=tls())
    unittest.enterModuleContext(server)


def tls():
    return grpc.ssl_channel_credentials(ca.certificate.read_bytes())


def with_token(token):
    return grpc.composite_channel_credentials(tls(), grpc.access_token_call_credentials(token))


class Client:
    """Stubs of both services with one token."""

    def __init__(self, name, token=None):
        self.channel = grpc.secure_channel(server.address, with_token(token or token_of(name)))
        self.inference = inference_grpc.InferenceServiceStub(self.channel)
        self.memories = memory_grpc.MemoryServiceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()


def result_of(call):
    """What a call came to: its code, its message and the last thing it answered."""
    last = None
    try:
        answer = call()
        if hasattr(answer, "__iter__"):
            for last in answer:
                pass
        else:
            last = answer
    except grpc.RpcError as error:
        return error.code(), error.details(), last
    return OK, "", last


def upload(message, name, **spec):
    yield message(spec=message.Spec(name=name, **spec))
    yield message(text=TEXT.encode())


def use(request, name):
    request.memory_uses.add(memory=name)
    return request


def generate(name):
    request = use(v1.GenerateRequest(prompt="Dogs"), name)
    request.parameters.max_tokens = 2
    return request


def current_digest(name):
    with Client("root") as root:
        return root.memories.GetMemory(memory_pb.GetMemoryRequest(name=name)).digest


def exported(name):
    with Client("root") as root:
        parts = list(root.memories.ExportMemory(memory_pb.ExportMemoryRequest(name=name)))
    return parts[0].header, b"".join(part.data for part in parts[1:])


def import_messages(name, header, data):
    yield memory_pb.ImportMemoryRequest(spec=memory_pb.ImportMemoryRequest.Spec(
        name=name, digest=header.digest, total_bytes=header.total_bytes))
    yield memory_pb.ImportMemoryRequest(data=data)


# Rpcs about a memory that is there: what it takes, and a call of it.
def calls_on(name):
    pb = memory_pb
    digest = "0" * 8
    return {
        "Generate": ("read", lambda c: c.inference.Generate(generate(name))),
        "StreamGenerate": ("read", lambda c: c.inference.StreamGenerate(generate(name))),
        "Score": ("read", lambda c: c.inference.Score(use(v1.ScoreRequest(prompt="Dogs", continuation=" sleep"), name))),
        "GetMemory": ("read", lambda c: c.memories.GetMemory(pb.GetMemoryRequest(name=name))),
        "ExportMemory": ("read", lambda c: c.memories.ExportMemory(pb.ExportMemoryRequest(name=name))),
        "ReplaceMemory": ("write", lambda c: c.memories.ReplaceMemory(upload(pb.CreateMemoryRequest, name))),
        "AppendToMemory": ("write", lambda c: c.memories.AppendToMemory(upload(pb.AppendToMemoryRequest, name))),
        "ForgetFromMemory": ("write", lambda c: c.memories.ForgetFromMemory(pb.ForgetFromMemoryRequest(
            name=name, tokens=pb.ForgetFromMemoryRequest.TokenRange(first=0, count=2)))),
        "RollbackMemory": ("write", lambda c: c.memories.RollbackMemory(pb.RollbackMemoryRequest(
            name=name, digest=current_digest(name) if name in there else digest))),
        "UpdateMemory": ("write", lambda c: c.memories.UpdateMemory(pb.UpdateMemoryRequest(
            name=name, labels=pb.UpdateMemoryRequest.Labels(labels={"a": "b"})))),
        "DeleteMemory": ("write", lambda c: c.memories.DeleteMemory(pb.DeleteMemoryRequest(name=name))),
        "LoadMemory": ("admin", lambda c: c.memories.LoadMemory(pb.LoadMemoryRequest(name=name))),
        "UnloadMemory": ("admin", lambda c: c.memories.UnloadMemory(pb.UnloadMemoryRequest(name=name))),
        "VerifyMemory": ("admin", lambda c: c.memories.VerifyMemory(pb.VerifyMemoryRequest(name=name))),
        "RebuildIndex": ("admin", lambda c: c.memories.RebuildIndex(pb.RebuildIndexRequest(name=name))),
    }


there = set()  # memories that root made


class AccessTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        write_access(RIGHTS)
        with Client("root") as root:
            for name in ("team/cats", "other/dogs", "plain"):
                if name not in there:
                    list(root.memories.CreateMemory(upload(memory_pb.CreateMemoryRequest, name)))
                    there.add(name)

    def setUp(self):
        write_access(RIGHTS)

    def make(self, name):
        with Client("root") as root:
            root.memories.CopyMemory(memory_pb.CopyMemoryRequest(source="team/cats", destination=name))
        there.add(name)
        return name

    def names_listed(self, client):
        memories = client.memories.ListMemories(memory_pb.ListMemoriesRequest(page_size=1000)).memories
        return {memory.name for memory in memories}

    def test_every_rpc_wants_a_token_that_is_known(self):
        services = [file.DESCRIPTOR.services_by_name[name] for file, name in (
            (v1, "InferenceService"), (memory_pb, "MemoryService"))]
        methods = [method for service in services for method in service.methods]
        self.assertEqual(len(methods), 24)
        wrong = [(), (("authorization", "Bearer wrong"),), (("authorization", token_of("root")),),
                 (("authorization", f"Basic {token_of('root')}"),), (("authorization", "Bearer "),),
                 (("authorization", f"Bearer {token_of('root')}"), ("authorization", "Bearer other"))]
        for method in methods:
            call = server.channel.stream_stream(f"/{method.containing_service.full_name}/{method.name}")
            for metadata in wrong:
                code, details, _ = result_of(lambda: call(iter([b""]), metadata=metadata, timeout=60))
                self.assertEqual(code, UNAUTHENTICATED, (method.name, metadata, details))
                self.assertNotIn(token_of("root"), details)
        _, details, _ = result_of(lambda: server.channel.unary_unary("/mtm.v1.InferenceService/GetModel")(b""))
        self.assertIn("authorization: Bearer <token>", details)

    def test_health_and_reflection_are_open(self):
        from grpc.health.v1 import health_pb2, health_pb2_grpc
        from grpc.reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
        health = health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest())
        self.assertEqual(health.status, health_pb2.HealthCheckResponse.SERVING)
        reflection = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        answer = next(reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
        self.assertIn("mtm.v1.MemoryService", [service.name for service in answer.list_services_response.service])

    def test_rights_on_a_memory_that_is_there(self):
        levels = ["read", "write", "admin"]
        for rpc in calls_on(""):
            for client, right in (("nobody", None), ("stranger", None), ("reader", "read"), ("writer", "write"),
                                  ("admin", "admin"), ("root", "admin")):
                name = self.make(f"team/{rpc.lower()}-{client}")
                needed, call = calls_on(name)[rpc]
                expected = (NOT_FOUND if right is None
                            else OK if levels.index(right) >= levels.index(needed) else DENIED)
                with Client(client) as c:
                    code, details, _ = result_of(lambda: call(c))
                self.assertEqual(code, expected, (rpc, client, details))
                if code == DENIED:
                    self.assertIn(f"'{client}'", details)

    def test_rights_to_make_a_memory(self):
        header, data = exported("team/cats")
        pb = memory_pb
        for rpc, call in (
                ("create", lambda c, name: c.memories.CreateMemory(upload(pb.CreateMemoryRequest, name))),
                ("import", lambda c, name: c.memories.ImportMemory(import_messages(name, header, data))),
                ("copy", lambda c, name: c.memories.CopyMemory(
                    pb.CopyMemoryRequest(source="team/cats", destination=name)))):
            for client, expected in (("nobody", DENIED), ("stranger", DENIED), ("reader", DENIED), ("writer", OK),
                                     ("admin", OK), ("root", OK)):
                with Client(client) as c:
                    if rpc == "copy" and client in ("nobody", "stranger"):
                        expected = NOT_FOUND  # its source
                    for name in (f"team/{rpc}-new-{client}", "team/cats"):
                        if expected == OK and name == "team/cats":
                            continue
                        code, details, _ = result_of(lambda: call(c, name))
                        self.assertEqual(code, expected, (rpc, client, name, details))

    def test_a_copy_wants_both_sides(self):
        copy = lambda c, source, destination: result_of(lambda: c.memories.CopyMemory(
            memory_pb.CopyMemoryRequest(source=source, destination=destination)))[0]
        with Client("stranger") as stranger, Client("reader") as reader, Client("writer") as writer:
            self.assertEqual(copy(stranger, "team/cats", "other/stolen"), NOT_FOUND)
            self.assertEqual(copy(reader, "team/cats", "team/mine"), DENIED)
            self.assertEqual(copy(writer, "team/cats", "other/mine"), DENIED)
            self.assertEqual(copy(writer, "other/dogs", "team/mine"), NOT_FOUND)

    def test_what_may_not_be_read_looks_as_if_it_were_not_there(self):
        header, data = exported("team/cats")
        digest = current_digest("team/cats")
        for name, absent in (("team/cats", "team/caps"), ("plain", "place"),
                             (f"team/cats@{digest[:8]}", f"team/caps@{digest[:8]}"),
                             ("team/cats@01234567", "team/caps@01234567")):
            plain_name = "@" not in name
            for rpc, (_, call) in calls_on(name).items():
                if not plain_name and rpc in ("ReplaceMemory", "RollbackMemory", "UpdateMemory", "UnloadMemory",
                                              "RebuildIndex"):
                    continue  # take no digest
                with Client("stranger") as stranger:
                    there_code, there_details, _ = result_of(lambda: call(stranger))
                    absent_code, absent_details, _ = result_of(lambda: calls_on(absent)[rpc][1](stranger))
                self.assertEqual((there_code, there_details.replace("cats", "caps").replace("plain", "place")),
                                 (absent_code, absent_details), rpc)
                self.assertEqual(there_code, NOT_FOUND, rpc)
        with Client("stranger") as stranger:
            for name in ("team/cats", "team/absent"):
                for call in (lambda: stranger.memories.CreateMemory(upload(memory_pb.CreateMemoryRequest, name)),
                             lambda: stranger.memories.ImportMemory(import_messages(name, header, data))):
                    code, details, _ = result_of(call)
                    self.assertEqual((code, details.replace("cats", "absent")), (DENIED, details.replace("cats", "absent")))

    def test_close_names_are_those_that_may_be_read(self):
        self.make("team/dogs")
        with Client("stranger") as stranger, Client("reader") as reader:
            for name in ("other/dog", "other/cats", "team/cat", "team/dog", "plai"):
                for call in (lambda: stranger.memories.GetMemory(memory_pb.GetMemoryRequest(name=name)),
                             lambda: stranger.inference.Generate(generate(name)),
                             lambda: stranger.memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name=name))):
                    code, details, _ = result_of(call)
                    self.assertEqual(code, NOT_FOUND)
                    for hidden in ("team/cats", "team/dogs", "'plain'"):
                        self.assertNotIn(hidden, details)
            self.assertIn("'other/dogs'", result_of(
                lambda: stranger.memories.GetMemory(memory_pb.GetMemoryRequest(name="other/dog")))[1])
            self.assertIn("'team/dogs'", result_of(
                lambda: reader.memories.GetMemory(memory_pb.GetMemoryRequest(name="team/dog")))[1])

    def test_lists_show_what_may_be_read(self):
        with Client("root") as root, Client("reader") as reader, Client("stranger") as stranger, \
                Client("nobody") as nobody:
            everything = self.names_listed(root)
            self.assertLessEqual({"team/cats", "other/dogs", "plain"}, everything)
            self.assertEqual(self.names_listed(reader), {name for name in everything if name.startswith("team/")})
            self.assertEqual(self.names_listed(stranger), {name for name in everything if name.startswith("other/")})
            self.assertEqual(self.names_listed(nobody), set())
            pages, token = [], ""
            while True:
                page = reader.memories.ListMemories(memory_pb.ListMemoriesRequest(page_size=1, page_token=token))
                pages += [memory.name for memory in page.memories]
                self.assertLessEqual(len(page.memories), 1)
                token = page.next_page_token
                if not token:
                    break
            self.assertEqual(set(pages), self.names_listed(reader))

    def test_a_watch_shows_what_may_be_read_and_ends_with_the_token(self):
        write_access([*RIGHTS, ("reader", "watching")])
        events = queue.Queue()
        with Client("reader", "watching") as watching, Client("root") as root:
            call = watching.memories.WatchMemories(memory_pb.WatchMemoriesRequest())

            def read():
                try:
                    for event in call:
                        events.put(event)
                except grpc.RpcError as error:
                    events.put(error.code())
            thread = threading.Thread(target=read)
            thread.start()
            seen = []
            while not seen or seen[-1].WhichOneof("event") != "synced":
                seen.append(events.get(timeout=60))
            self.assertTrue(all(event.updated.name.startswith("team/") for event in seen[:-1]), seen)
            self.make("other/unseen")
            self.make("team/seen")
            self.assertEqual(events.get(timeout=60).updated.name, "team/seen")
            root.memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name="other/unseen"))
            root.memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name="team/seen"))
            self.assertEqual(events.get(timeout=60).deleted, "team/seen")
            write_access(RIGHTS)
            self.make("team/after")
            self.assertEqual(events.get(timeout=60), UNAUTHENTICATED)
            thread.join()

    def test_writes_are_found_by_those_who_asked_for_them(self):
        options = memory_pb.WriteOptions(request_id="the-same-id")
        watch = memory_pb.WatchWriteRequest(request_id="the-same-id")
        with Client("writer") as writer, Client("stranger") as stranger:
            made = result_of(lambda: writer.memories.CreateMemory(
                upload(memory_pb.CreateMemoryRequest, "team/by-id", options=options)))
            self.assertEqual(made[0], OK, made)
            again = result_of(lambda: writer.memories.WatchWrite(watch))
            self.assertEqual(again[2].memory.name, "team/by-id", again)
            self.assertEqual(result_of(lambda: stranger.memories.WatchWrite(watch))[0], NOT_FOUND)
            # Another's id is free to use, and names another write.
            other = result_of(lambda: stranger.memories.CreateMemory(
                upload(memory_pb.CreateMemoryRequest, "other/by-id", options=options)))
            self.assertEqual((other[0], other[2].memory.name), (OK, "other/by-id"), other)
            detached = memory_pb.WriteOptions(request_id="detached", detached=True)
            accepted = result_of(lambda: writer.memories.AppendToMemory(
                upload(memory_pb.AppendToMemoryRequest, "team/by-id", options=detached)))
            self.assertEqual(accepted[2].accepted.request_id, "detached", accepted)

    def test_a_token_without_rights_has_the_model(self):
        with Client("nobody") as nobody:
            self.assertEqual(nobody.inference.GetModel(v1.GetModelRequest()).name, "small")
            request = v1.GenerateRequest(prompt="Dogs")
            request.parameters.max_tokens = 1
            self.assertEqual(len(nobody.inference.Generate(request).samples), 1)
            self.assertTrue(nobody.inference.Tokenize(v1.TokenizeRequest(text="Dogs")).token_ids)

    def test_one_memory_that_may_not_be_read_refuses_the_request(self):
        request = generate("team/cats")
        request.memory_uses[0].layers.append(2)
        request.memory_uses.add(memory="other/dogs", layers=[3])
        with Client("reader") as reader:
            code, details, _ = result_of(lambda: reader.inference.Generate(request))
        self.assertEqual(code, NOT_FOUND)
        self.assertIn("memory_uses[1].memory: ", details)

    def test_a_change_of_the_file_counts_at_once(self):
        with Client("reader") as old, Client("reader", "new-token") as new:
            get = lambda client: result_of(lambda: client.inference.GetModel(v1.GetModelRequest()))[0]
            self.assertEqual((get(old), get(new)), (OK, UNAUTHENTICATED))
            write_access([*RIGHTS, ("reader", "new-token")])
            self.assertEqual((get(old), get(new)), (OK, OK))
            write_access([*(name for name in RIGHTS if name != "reader"), ("reader", "new-token")])
            self.assertEqual((get(old), get(new)), (UNAUTHENTICATED, OK))

    def test_a_broken_file_leaves_the_tokens_before(self):
        with Client("reader") as reader:
            for content in ("", '{"tokens":[', '{"tokens":[{"name":"x"}]}'):
                access_file.write_text(content)
                reader.inference.GetModel(v1.GetModelRequest())
            access_file.unlink()
            reader.inference.GetModel(v1.GetModelRequest())
            self.assertIn("level=error event=access_not_reloaded", server.log())

    def test_sighup_reads_the_file_again(self):
        before = server.log().count("event=access_loaded")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while server.log().count("event=access_loaded") == before and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertGreater(server.log().count("event=access_loaded"), before)
        self.assertIsNone(server.process.poll())

    def test_the_log_names_who_asked_and_no_token(self):
        with Client("reader") as reader:
            reader.inference.GetModel(v1.GetModelRequest())
        self.assertRegex(server.log(), r"rpc=GetModel principal=reader status=OK")
        self.assertNotIn("the-token-of", server.log())

    def test_an_asyncio_client(self):
        async def run():
            async with grpc.aio.secure_channel(server.address, with_token(token_of("writer"))) as channel:
                memories = memory_grpc.MemoryServiceStub(channel)
                events = [event async for event in memories.CreateMemory(
                    upload(memory_pb.CreateMemoryRequest, "team/aio"))]
                self.assertEqual(events[-1].memory.name, "team/aio")
                answers = await asyncio.gather(*(
                    inference_grpc.InferenceServiceStub(channel).Generate(generate("team/aio")) for _ in range(8)))
                self.assertEqual({len(answer.samples) for answer in answers}, {1})
                with self.assertRaises(grpc.aio.AioRpcError) as raised:
                    await memories.LoadMemory(memory_pb.LoadMemoryRequest(name="team/aio"))
                self.assertEqual(raised.exception.code(), DENIED)
            async with grpc.aio.secure_channel(server.address, with_token("wrong")) as channel:
                with self.assertRaises(grpc.aio.AioRpcError) as raised:
                    await inference_grpc.InferenceServiceStub(channel).GetModel(v1.GetModelRequest())
                self.assertEqual(raised.exception.code(), UNAUTHENTICATED)
        asyncio.run(run())


class StartTest(unittest.TestCase):
    def start(self, *flags, **options):
        with server_process.Scratch() as own:
            return subprocess.run(
                server_process.Server(own, server_process.TINY_MODEL, *flags, **options).command, text=True,
                capture_output=True, timeout=server_process.SECONDS_TO_START)

    def test_a_file_that_is_no_good_is_an_error_that_names_it(self):
        with server_process.Scratch() as own:
            file = own / "access.json"
            for content, words in ((None, "No such file"), ("", "not JSON"), ('{"tokens":[]}', "has no tokens"),
                                   ('{"tokens":[{}]}', "tokens[0] has no name")):
                if content is not None:
                    file.write_text(content)
                result = self.start("--access-file", str(file))
                self.assertEqual(result.returncode, 1)
                self.assertIn(str(file), result.stderr.splitlines()[-1])
                self.assertIn(words, result.stderr.splitlines()[-1])

    def test_tokens_without_tls_stay_on_the_loopback(self):
        write_access(RIGHTS)
        result = self.start("--access-file", str(access_file), listen="0.0.0.0:0")
        self.assertEqual(result.returncode, 1)
        self.assertIn("--insecure-listen", result.stderr)

    def test_tokens_without_tls_on_the_loopback(self):
        write_access(RIGHTS)
        with server_process.Scratch() as own, server_process.Server(
                own, server_process.TINY_MODEL, "--access-file", str(access_file)) as plain:
            stub = inference_grpc.InferenceServiceStub(plain.channel)
            self.assertEqual(result_of(lambda: stub.GetModel(v1.GetModelRequest()))[0], UNAUTHENTICATED)
            stub.GetModel(v1.GetModelRequest(), metadata=(("authorization", f"Bearer {token_of('nobody')}"),))


class HashTokenTest(unittest.TestCase):
    def hash(self, token, *flags):
        return subprocess.run([server_process.SERVER, "hash-token", *flags], input=token, text=True,
                              capture_output=True)

    def test_prints_a_line_for_the_file(self):
        token = "0123456789abcdef0123456789abcdef"
        result = self.hash(token + "\n", "--name", "team-a")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(json.loads(result.stdout), {
            "name": "team-a", "sha256": hashlib.sha256(token.encode()).hexdigest(), "rights": {"*": "read"}})
        self.assertEqual(result.stdout.count("\n"), 1)

    def test_a_token_that_cannot_be_sent_is_refused(self):
        for token in ("", "\n", "two words", "tab\tbed", "caf\u00e9", "two\nlines"):
            result = self.hash(token)
            self.assertEqual((result.returncode, result.stdout), (1, ""), token)

    def test_a_token_that_can_be_guessed_is_warned_of(self):
        result = self.hash("secret")
        self.assertEqual(result.returncode, 0)
        self.assertIn("short", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
