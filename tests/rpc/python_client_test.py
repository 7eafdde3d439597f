# SPDX-License-Identifier: Apache-2.0
"""Drives every rpc of a mtm_server process from Python."""

import json
import threading
import time
import unittest

import grpc

import server_process


def setUpModule():
    global server, inference, memories, v1, memory_types, memory_pb, health_pb, health, reflection_pb, reflection
    folder = server_process.module_folder()
    from grpc.health.v1 import health_pb2 as health_pb
    from grpc.health.v1 import health_pb2_grpc
    from grpc.reflection.v1alpha import reflection_pb2 as reflection_pb
    from grpc.reflection.v1alpha import reflection_pb2_grpc
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import inference_service_pb2_grpc
    from mtm.v1 import memory_pb2 as memory_types
    from mtm.v1 import memory_service_pb2 as memory_pb
    from mtm.v1 import memory_service_pb2_grpc
    server = server_process.Server(folder, server_process.write_model(folder / "small"))
    unittest.enterModuleContext(server)
    inference = inference_service_pb2_grpc.InferenceServiceStub(server.channel)
    memories = memory_service_pb2_grpc.MemoryServiceStub(server.channel)
    health = health_pb2_grpc.HealthStub(server.channel)
    reflection = reflection_pb2_grpc.ServerReflectionStub(server.channel)


def create(name, text, **spec):
    """All events of the making."""
    yield memory_pb.CreateMemoryRequest(spec=memory_pb.CreateMemoryRequest.Spec(name=name, **spec))
    for i in range(0, len(text), 7):  # chunks that end within characters
        yield memory_pb.CreateMemoryRequest(text=text.encode()[i:i + 7])


def violations(error):
    from google.rpc import error_details_pb2, status_pb2
    status = status_pb2.Status()
    status.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.code == error.code().value[0] and status.message == error.details()
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(bad_request)
    return [violation.field for violation in bad_request.field_violations]


class PythonClientTest(unittest.TestCase):
    TEXT = "Cats are small animals. They sleep in the sun all day, and hunt at night. Caf\u00e9s love them."

    @classmethod
    def setUpClass(cls):
        cls.cats = list(memories.CreateMemory(create("cats", cls.TEXT)))[-1].memory

    def assert_fails(self, code, call, *fields):
        with self.assertRaises(grpc.RpcError) as raised:
            result = call()
            list(result) if hasattr(result, "__iter__") else None
        self.assertEqual(raised.exception.code(), code, raised.exception.details())
        if fields:
            self.assertEqual(violations(raised.exception), list(fields))
        return raised.exception.details()

    def test_get_model(self):
        model = inference.GetModel(v1.GetModelRequest())
        self.assertEqual(model.name, "small")
        self.assertEqual((model.layer_count, model.context_length, model.vocabulary_size), (4, 64, 50257))
        self.assertEqual(model.end_of_text_token, 50256)
        self.assertEqual(list(model.default_layers), [3])
        self.assertEqual(model.fingerprint, self.cats.model_fingerprint)

    def test_tokenize_and_detokenize(self):
        ids = inference.Tokenize(v1.TokenizeRequest(text=self.TEXT)).token_ids
        self.assertEqual(len(ids), self.cats.token_count)
        self.assertEqual(inference.Detokenize(v1.DetokenizeRequest(token_ids=ids)).text, self.TEXT)
        self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT,
                          lambda: inference.Detokenize(v1.DetokenizeRequest(token_ids=[1, -5])), "token_ids[1]")

    def test_generate_says_what_was_applied(self):
        answer = inference.Generate(v1.GenerateRequest(
            prompt="Dogs", memory_uses=[v1.MemoryUse(memory="cats", layers=[2, 3], k=2)],
            parameters=v1.GenerationParameters(max_tokens=5, top_logprobs=3, trace=v1.TraceOptions())))
        self.assertEqual(list(answer.applied.memory_searches), [v1.MEMORY_SEARCH_EXACT])
        use = answer.applied.memory_uses[0]
        self.assertEqual(use.memory, f"cats@{self.cats.digest}")
        self.assertEqual((use.method, use.k, use.memory_fraction, use.bookkeeping_fraction, use.score_scale,
                          use.residual_fraction, use.head_fraction), (v1.METHOD_TYPE_3, 2, 5, 0.9, 0.01, 0.33, 1))
        sample = answer.samples[0]
        self.assertEqual(len(sample.token_ids), 5)
        self.assertEqual(sample.finish_reason, v1.FINISH_REASON_MAX_TOKENS)
        self.assertEqual([len(detail.top) for detail in sample.details], [3] * 5)
        self.assertEqual(len(sample.trace), answer.usage.tokens_heads_changed)
        self.assertGreater(len(sample.trace), 0)
        self.assertEqual({entry.layer for entry in sample.trace}, {2, 3})
        again = v1.GenerateRequest(prompt="Dogs", memory_uses=answer.applied.memory_uses,
                                   parameters=answer.applied.parameters)
        self.assertEqual(inference.Generate(again).samples, answer.samples)

    def test_a_stream_says_the_same(self):
        request = v1.GenerateRequest(prompt="Dogs", memory_uses=[v1.MemoryUse(memory="cats")])
        request.parameters.sampling.seed = 11
        events = list(inference.StreamGenerate(request))
        sample = inference.Generate(request).samples[0]
        self.assertEqual([event.WhichOneof("event") for event in events],
                         ["started"] + ["token"] * len(sample.token_ids) + ["sample_finished", "finished"])
        self.assertEqual([event.token.token_id for event in events[1:-2]], list(sample.token_ids))
        self.assertEqual("".join(event.token.text + event.sample_finished.text for event in events), sample.text)

    def test_score(self):
        score = inference.Score(v1.ScoreRequest(prompt="Dogs", continuation=" sleep well", top_logprobs=1))
        self.assertEqual([detail.chosen.token for detail in score.tokens], [b" sleep", b" well"])
        self.assertAlmostEqual(score.total_logprob, sum(detail.chosen.logprob for detail in score.tokens))
        self.assertLess(score.total_logprob, 0)

    def test_a_memory_is_made_with_progress_and_deleted(self):
        events = list(memories.CreateMemory(create("team/long", "word " * 500, layers=[1, 4])))
        progress = [event.progress for event in events[:-1]]
        self.assertTrue(all(a.tokens_done <= b.tokens_done for a, b in zip(progress, progress[1:])))
        self.assertEqual({p.tokens_total for p in progress}, {events[-1].memory.token_count})
        memory = memories.GetMemory(memory_pb.GetMemoryRequest(name="team/long"))
        self.assertEqual([version.digest for version in memory.versions], [memory.digest])
        del memory.versions[:]
        self.assertEqual(memory, events[-1].memory)
        self.assertEqual(list(memory.layers), [1, 4])
        self.assertIn(memory, memories.ListMemories(memory_pb.ListMemoriesRequest()).memories)
        self.assertEqual(memory.digest, memories.GetMemory(
            memory_pb.GetMemoryRequest(name=f"team/long@{memory.digest[:10]}")).digest)
        memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name="team/long"))
        self.assert_fails(grpc.StatusCode.NOT_FOUND,
                          lambda: memories.GetMemory(memory_pb.GetMemoryRequest(name="team/long")))

    def test_a_memory_of_token_ids(self):
        def messages():
            yield memory_pb.CreateMemoryRequest(spec=memory_pb.CreateMemoryRequest.Spec(name="ids"))
            for i in range(3):
                yield memory_pb.CreateMemoryRequest(token_ids=memory_pb.TokenIdChunk(ids=[i, i + 1]))
        memory = list(memories.CreateMemory(messages()))[-1].memory
        self.assertEqual((memory.token_count, list(memory.leading_token_ids)), (5, [0]))

    def test_errors_of_memories(self):
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.assert_fails(grpc.StatusCode.ALREADY_EXISTS, lambda: memories.CreateMemory(create("cats", "more")))
        self.assert_fails(invalid, lambda: memories.CreateMemory(create("Cats", "more", layers=[5, 2, 2])),
                          "spec.name", "spec.layers[0]", "spec.layers[2]")
        self.assert_fails(invalid, lambda: memories.CreateMemory(create("new", "")), "text")
        self.assert_fails(invalid, lambda: memories.CreateMemory(iter([])), "spec")
        self.assert_fails(invalid, lambda: memories.GetMemory(memory_pb.GetMemoryRequest(name="no good")), "name")
        details = self.assert_fails(grpc.StatusCode.NOT_FOUND,
                                    lambda: memories.GetMemory(memory_pb.GetMemoryRequest(name="cat")))
        self.assertIn("cats", details)
        details = self.assert_fails(
            grpc.StatusCode.NOT_FOUND,
            lambda: memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name="cats@" + "0123456789")))
        self.assertIn(self.cats.digest[:8], details)

    def test_errors_of_generation(self):
        use = lambda **fields: v1.MemoryUse(memory="cats", **fields)
        request = v1.GenerateRequest(memory_uses=[use(k=0, layers=[2]), use(layers=[2, 9], score_scale=float("nan"))])
        request.parameters.max_tokens = 0
        fields = ["prompt", "memory_uses[0].k", "memory_uses[1].layers[1]", "memory_uses[1].layers",
                  "memory_uses[1].score_scale", "parameters.max_tokens"]
        for call in (inference.Generate, inference.StreamGenerate):
            self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(request), *fields)
        self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: inference.Score(v1.ScoreRequest(prompt="Hi")),
                          "continuation")
        self.assert_fails(grpc.StatusCode.NOT_FOUND, lambda: inference.Generate(
            v1.GenerateRequest(prompt="Hi", memory_uses=[v1.MemoryUse(memory="cat")])))
        list(memories.CreateMemory(create("first-layer", self.TEXT, layers=[1])))
        details = self.assert_fails(grpc.StatusCode.FAILED_PRECONDITION, lambda: inference.Generate(
            v1.GenerateRequest(prompt="Hi", memory_uses=[v1.MemoryUse(memory="first-layer")])))
        self.assertIn("keeps 1", details)
        long = "word " * 1000
        details = self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT,
                                    lambda: inference.Generate(v1.GenerateRequest(prompt=long)), "prompt")
        self.assertIn("at most 64 fit", details)

    def test_messages_that_cannot_be_parsed(self):
        for method, bytes_sent, fields in (("Generate", b"\x0a\x01\xff", ["prompt"]), ("Tokenize", b"\x0a\x01\xff", ["text"]),
                                           ("Score", b"\x0a\xff", []), ("GetModel", b"\x07", [])):
            call = server.channel.unary_unary(f"/mtm.v1.InferenceService/{method}")
            self.assert_fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(bytes_sent), *fields)

    def test_a_creation_given_up_leaves_nothing(self):
        given_up = threading.Event()

        def messages():
            yield from create("half", "half a text")
            given_up.wait(60)
        call = memories.CreateMemory(messages())
        call.cancel()
        given_up.set()
        with self.assertRaises((grpc.RpcError, grpc.FutureCancelledError)):
            list(call)
        names = [memory.name for memory in memories.ListMemories(memory_pb.ListMemoriesRequest()).memories]
        self.assertNotIn("half", names)
        list(memories.CreateMemory(create("half", "a whole text")))

    def test_a_stream_given_up_ends_on_the_server(self):
        request = v1.GenerateRequest(prompt="a prompt with the secret xyzzy")
        request.parameters.mode = v1.MODE_EXACT
        request.parameters.max_tokens = 100000
        request.parameters.ignore_end_of_text = True
        stream = inference.StreamGenerate(request)
        self.assertEqual(next(stream).WhichOneof("event"), "started")
        stream.cancel()
        deadline = time.monotonic() + 60
        while "rpc=StreamGenerate status=CANCELLED" not in server.log():
            self.assertLess(time.monotonic(), deadline)
        self.assertNotIn("xyzzy", server.log(), "prompts are not logged")

    def test_health(self):
        check = lambda name: health.Check(health_pb.HealthCheckRequest(service=name))
        for name in ("", "mtm.v1.InferenceService", "mtm.v1.MemoryService"):
            self.assertEqual(check(name).status, health_pb.HealthCheckResponse.SERVING)
        self.assert_fails(grpc.StatusCode.NOT_FOUND, lambda: check("mtm.v1.NoService"))

    def test_reflection(self):
        request = reflection_pb.ServerReflectionRequest
        listed, described = reflection.ServerReflectionInfo(
            iter([request(list_services=""), request(file_containing_symbol="mtm.v1.InferenceService.Generate")]))
        names = {service.name for service in listed.list_services_response.service}
        self.assertLessEqual({"mtm.v1.InferenceService", "mtm.v1.MemoryService", "grpc.health.v1.Health",
                              "grpc.reflection.v1alpha.ServerReflection"}, names)
        self.assertIn(v1.DESCRIPTOR.serialized_pb, described.file_descriptor_response.file_descriptor_proto)


class MemoryLifeTest(unittest.TestCase):
    """Every rpc that changes, moves or watches memories, each on names of its own."""

    def make(self, name, text="Cats sleep all day. Dogs run after them.", **spec):
        return list(memories.CreateMemory(create(name, text, **spec)))[-1].memory

    def get(self, name):
        return memories.GetMemory(memory_pb.GetMemoryRequest(name=name))

    def assert_not_found(self, name):
        with self.assertRaises(grpc.RpcError) as raised:
            self.get(name)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

    def append(self, name, text, source):
        def messages():
            yield memory_pb.AppendToMemoryRequest(spec=memory_pb.AppendToMemoryRequest.Spec(name=name, source=source))
            yield memory_pb.AppendToMemoryRequest(text=text)
        return list(memories.AppendToMemory(messages()))[-1].memory

    def test_versions(self):
        first = self.make("life/versions", source="first")
        appended = self.append("life/versions", b"Mice hide from both.", "second")
        self.assertGreater(appended.token_count, first.token_count)
        self.assertEqual([source.label for source in appended.sources], ["first", "second"])
        self.assertEqual(sum(source.token_count for source in appended.sources), appended.token_count)
        forget = memory_pb.ForgetFromMemoryRequest(name=f"life/versions@{appended.digest}", source="first")
        forgotten = list(memories.ForgetFromMemory(forget))[-1].memory
        self.assertEqual([source.label for source in forgotten.sources], ["second"])
        replaced = list(memories.ReplaceMemory(create("life/versions", "Nothing of it.")))[-1].memory
        digests = [first.digest, appended.digest, forgotten.digest, replaced.digest]
        self.assertEqual([version.digest for version in self.get("life/versions").versions], digests)
        back = memories.RollbackMemory(memory_pb.RollbackMemoryRequest(name="life/versions", digest=first.digest[:8]))
        self.assertEqual((back.digest, self.get("life/versions").digest), (first.digest, first.digest))
        self.assertEqual(self.get(f"life/versions@{replaced.digest}").token_count, replaced.token_count)

    def test_a_write_is_watched_by_its_id(self):
        options = memory_pb.WriteOptions(request_id="watched", detached=True)
        events = list(memories.CreateMemory(create("life/detached", "word " * 500, options=options)))
        self.assertEqual(events[-1].accepted.request_id, "watched")
        for _ in range(2):
            watched = list(memories.WatchWrite(memory_pb.WatchWriteRequest(request_id="watched")))
            self.assertEqual(watched[-1].memory.digest, self.get("life/detached").digest)

    def test_copies_labels_and_deletion(self):
        made = self.make("life/a", labels={"stage": "draft"})
        copy = memories.CopyMemory(memory_pb.CopyMemoryRequest(source="life/a", destination="life/b", request_id="c"))
        self.assertEqual((copy.name, copy.digest), ("life/b", made.digest))
        update = memory_pb.UpdateMemoryRequest(name="life/a")
        update.labels.labels["stage"] = "live"
        update.metadata.update({"by": ["hand", 7]})
        updated = memories.UpdateMemory(update)
        self.assertEqual((dict(updated.labels), list(updated.metadata["by"])), ({"stage": "live"}, ["hand", 7]))
        self.assertEqual(self.get("life/a").digest, made.digest)
        for _ in range(2):
            memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name="life/b", request_id="d"))
        self.assert_not_found("life/b")

    def test_lists_are_filtered_and_paged(self):
        for name in ("paged/a", "paged/b", "paged/c"):
            self.make(name, labels={"paged": "yes"})
        memory_filter = memory_pb.MemoryFilter(name_prefix="paged/", labels={"paged": "yes"})
        names, token = [], ""
        while True:
            page = memories.ListMemories(memory_pb.ListMemoriesRequest(
                page_size=2, page_token=token, filter=memory_filter))
            names += [memory.name for memory in page.memories]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(names, ["paged/a", "paged/b", "paged/c"])

    def test_changes_are_watched(self):
        self.make("watched/a")
        watch = memories.WatchMemories(memory_pb.WatchMemoriesRequest(
            filter=memory_pb.MemoryFilter(name_prefix="watched/")))
        self.assertEqual(next(watch).updated.name, "watched/a")
        self.assertEqual(next(watch).WhichOneof("event"), "synced")
        memories.DeleteMemory(memory_pb.DeleteMemoryRequest(name="watched/a"))
        self.assertEqual(next(watch).deleted, "watched/a")
        watch.cancel()

    def test_loading_and_checking(self):
        made = self.make("life/checked")
        state = memories.UnloadMemory(memory_pb.UnloadMemoryRequest(name="life/checked")).state
        self.assertEqual(state, memory_types.Memory.STATE_ON_DISK)
        loaded = memories.LoadMemory(memory_pb.LoadMemoryRequest(name="life/checked"))
        self.assertEqual((loaded.state, loaded.digest), (memory_types.Memory.STATE_RESIDENT, made.digest))
        for events in (memories.VerifyMemory(memory_pb.VerifyMemoryRequest(name="life/checked")),
                       memories.RebuildIndex(memory_pb.RebuildIndexRequest(name="life/checked"))):
            self.assertEqual(list(events)[-1].memory.digest, made.digest)

    def test_a_memory_is_exported_and_imported(self):
        made = self.make("life/exported", "word " * 3000)
        header, *parts = memories.ExportMemory(memory_pb.ExportMemoryRequest(name="life/exported"))
        data = b"".join(part.data for part in parts)
        self.assertEqual((header.header.digest, header.header.total_bytes), (made.digest, len(data)))
        self.assertEqual(b"".join(part.data for part in memories.ExportMemory(
            memory_pb.ExportMemoryRequest(name="life/exported", offset=1000))), data[1000:])
        spec = memory_pb.ImportMemoryRequest.Spec(name="life/imported", digest=made.digest, total_bytes=len(data))
        resumed = threading.Event()

        def messages():
            yield memory_pb.ImportMemoryRequest(spec=spec)
            resumed.wait(60)
            for at in range(0, len(data), 400_000):
                yield memory_pb.ImportMemoryRequest(data=data[at:at + 400_000])
        events = memories.ImportMemory(messages())
        self.assertEqual(next(events).resume.offset, 0)
        resumed.set()
        self.assertEqual(next(events).memory.digest, made.digest)
        self.assertEqual(self.get("life/imported").source_digest, made.source_digest)


class GoldenModelTest(unittest.TestCase):
    """Without a tokenizer: token ids alone."""

    def test_tokens_are_the_golden_ones(self):
        from mtm.v1 import inference_service_pb2_grpc, memory_service_pb2_grpc
        cases = json.loads((server_process.TINY_MODEL / "cases.json").read_text())
        case = next(case for case in cases if case["name"] == "memory_of_three_windows")
        with server_process.Scratch() as folder, server_process.Server(folder, server_process.TINY_MODEL) as tiny:
            name, memory = next(iter(case["memories"].items()))
            spec = memory_pb.CreateMemoryRequest.Spec(name=name, dropped_token_count=memory["drop_first"])
            chunk = memory_pb.TokenIdChunk(ids=memory["tokens"])
            list(memory_service_pb2_grpc.MemoryServiceStub(tiny.channel).CreateMemory(iter(
                [memory_pb.CreateMemoryRequest(spec=spec), memory_pb.CreateMemoryRequest(token_ids=chunk)])))
            request = v1.GenerateRequest(prompt_tokens=v1.TokenIds(ids=case["prompt"]))
            for use in case["uses"]:
                request.memory_uses.add(**use)
            request.parameters.max_tokens = case["steps"]
            request.parameters.sampling.temperature = 0
            request.parameters.ignore_end_of_text = True
            stub = inference_service_pb2_grpc.InferenceServiceStub(tiny.channel)
            for mode in (v1.MODE_EXACT, v1.MODE_CACHED):
                request.parameters.mode = mode
                expected = case["greedy"]["exact" if mode == v1.MODE_EXACT else "cached"]
                self.assertEqual(list(stub.Generate(request).samples[0].token_ids), expected)
            self.assertEqual(tiny.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
