# SPDX-License-Identifier: Apache-2.0
"""What operators see and do of a mtm_server process: metrics, probes, traces, channelz, signals, its supervisor."""

import hashlib
import json
import os
import re
import signal
import socket
import time
import unittest
import unittest.mock
import urllib.error
import urllib.request

import grpc

import certificates
import server_process

DEPLOY = server_process.SOURCE / "deploy"


def setUpModule():
    global model, v1, memory_pb, inference_grpc, memory_grpc
    folder = server_process.module_folder()
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import inference_service_pb2_grpc as inference_grpc
    from mtm.v1 import memory_service_pb2 as memory_pb
    from mtm.v1 import memory_service_pb2_grpc as memory_grpc
    model = server_process.write_model(folder / "small")


class OperationsTest(unittest.TestCase):
    def serve(self, *flags, **options):
        self.folder = self.enterContext(server_process.Scratch())
        return self.enterContext(server_process.Server(self.folder, model, *flags, **options))

    def wait_for_log(self, server, pattern):
        """Lines come after what they tell of."""
        deadline = time.monotonic() + 30
        while not (match := re.search(pattern, server.log())):
            self.assertLess(time.monotonic(), deadline, f"no {pattern} in\n{server.log()}")
            time.sleep(0.01)
        return match


class ScrapedTest(OperationsTest):
    def serve(self, *flags, metrics_listen="127.0.0.1:0", **options):
        server = super().serve("--metrics-listen", metrics_listen, *flags, **options)
        told = re.search(r"event=serving_metrics address=(\S+)", server.log())  # below the level of warnings
        self.address = told[1] if told else metrics_listen
        return server

    def get(self, path):
        """Status and text."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self):
        """Values by name with labels."""
        lines = self.get("/metrics")[1].splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    def wait_for(self, name, value):
        """An rpc is counted after its answer."""
        deadline = time.monotonic() + 30
        while (metrics := self.scrape()).get(name) != value:
            self.assertLess(time.monotonic(), deadline, f"{name} is {metrics.get(name)}")
            time.sleep(0.01)
        return metrics


class MetricsTest(ScrapedTest):
    def test_metrics_say_what_was_done(self):
        server = self.serve()
        stub = inference_grpc.InferenceServiceStub(server.channel)
        spec = memory_pb.CreateMemoryRequest.Spec(name="cats")
        memory = list(memory_grpc.MemoryServiceStub(server.channel).CreateMemory(iter(
            [memory_pb.CreateMemoryRequest(spec=spec), memory_pb.CreateMemoryRequest(text=b"Cats sleep all day.")])))[-1]
        parameters = v1.GenerationParameters(max_tokens=5, sample_count=2, ignore_end_of_text=True)
        answer = stub.Generate(v1.GenerateRequest(prompt="Dogs", memory_uses=[v1.MemoryUse(memory="cats")],
                                                  parameters=parameters))
        with self.assertRaises(grpc.RpcError):
            stub.Generate(v1.GenerateRequest())
        self.wait_for('mtm_rpcs_total{rpc="Generate",code="INVALID_ARGUMENT"}', 1)
        self.wait_for('mtm_rpcs_total{rpc="CreateMemory",code="OK"}', 1)
        metrics = self.wait_for('mtm_rpcs_total{rpc="Generate",code="OK"}', 1)
        usage = answer.usage
        for name, value in (
                ('mtm_rpc_duration_seconds_count{rpc="Generate"}', 2), ("mtm_queue_seconds_count", 1),
                ("mtm_time_to_first_token_seconds_count", 1), ("mtm_time_per_token_seconds_count", 1),
                ("mtm_generated_tokens_total", 10), ("mtm_prompt_tokens_total", usage.prompt_tokens),
                ("mtm_tokens_heads_total", usage.tokens_heads_total),
                ("mtm_tokens_heads_changed_total", usage.tokens_heads_changed), ("mtm_requests_waiting", 0),
                ('mtm_sequences{state="running"}', 0), ('mtm_sequences{state="resting"}', 0),
                ('mtm_requests_refused_total{reason="line_full"}', 0), ("mtm_requests_stalled_total", 0),
                ("mtm_step_duration_seconds_count", 6),  # a memory of one window, a prompt, four tokens
                ('mtm_batch_size_bucket{le="1"}', 2), ('mtm_batch_size_bucket{le="2"}', 6), ("mtm_batch_size_sum", 10),
                ('mtm_memories{state="resident"}', 1), ('mtm_memories{state="quarantined"}', 0),
                ("mtm_store_bytes", memory.memory.size_bytes), ("mtm_rpcs_active", 0)):
            self.assertEqual(metrics[name], value, name)
        for name in ("mtm_time_per_token_seconds_sum", "mtm_memory_seconds_total", "mtm_resident_bytes",
                     "mtm_step_duration_seconds_sum", "process_resident_memory_bytes", "process_open_fds"):
            self.assertGreater(metrics[name], 0, name)
        self.assertEqual(len([name for name in metrics if name.startswith("mtm_build_info{version=")]), 1)
        self.assertIn(f'mtm_model_info{{model="small",fingerprint="{stub.GetModel(v1.GetModelRequest()).fingerprint}",'
                      'device="cpu"}', metrics)

    def test_a_prompt_that_begins_as_an_earlier_one_is_not_run_again(self):
        server = self.serve()
        stub = inference_grpc.InferenceServiceStub(server.channel)

        def generate(ids):
            return stub.Generate(v1.GenerateRequest(
                prompt_tokens=v1.TokenIds(ids=ids),
                parameters=v1.GenerationParameters(max_tokens=3, ignore_end_of_text=True)))
        shared = list(range(100, 140))
        self.assertEqual(generate(shared + [1]).usage.reused_prompt_tokens, 0)
        self.assertEqual(generate(shared + [2, 3]).usage.reused_prompt_tokens, 40)
        self.assertEqual(generate([4] + shared).usage.reused_prompt_tokens, 0)
        metrics = self.wait_for('mtm_rpcs_total{rpc="Generate",code="OK"}', 3)
        self.assertEqual(metrics["mtm_reused_prompt_tokens_total"], 40)
        self.assertGreater(metrics["mtm_prompt_cache_bytes"], 0)

    def test_prompts_are_not_kept_where_none_are_wanted(self):
        server = self.serve("--max-prompt-cache-bytes", "0")
        stub = inference_grpc.InferenceServiceStub(server.channel)
        request = v1.GenerateRequest(prompt_tokens=v1.TokenIds(ids=range(100, 140)))
        request.parameters.max_tokens = 1
        for _ in range(2):
            self.assertEqual(stub.Generate(request).usage.reused_prompt_tokens, 0)
        self.assertEqual(self.scrape()["mtm_prompt_cache_bytes"], 0)

    def test_what_waits_and_runs_is_seen_while_it_does(self):
        server = self.serve("--max-sequences", "1", "--max-client-requests", "2")
        request = v1.GenerateRequest(prompt="Dogs")
        request.parameters.mode = v1.MODE_EXACT
        request.parameters.max_tokens = 100000
        request.parameters.ignore_end_of_text = True
        stub = inference_grpc.InferenceServiceStub(server.channel)
        calls = [stub.StreamGenerate(request) for _ in range(2)]
        self.wait_for("mtm_requests_waiting", 1)
        metrics = self.wait_for("mtm_rpcs_active", 2)
        self.assertEqual(metrics['mtm_sequences{state="running"}'] + metrics['mtm_sequences{state="resting"}'], 1)
        self.assertGreater(metrics["mtm_cache_bytes"], 0)
        with self.assertRaises(grpc.RpcError) as raised:
            stub.Generate(request)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.wait_for('mtm_requests_refused_total{reason="client_limit"}', 1)
        for call in calls:
            call.cancel()
        self.wait_for('mtm_rpcs_total{rpc="StreamGenerate",code="CANCELLED"}', 2)

    def test_every_metric_of_alerts_and_dashboards_is_in_a_scrape(self):
        self.serve()
        text = self.get("/metrics")[1]
        there = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
        there |= {f"{name}_{part}" for name in there for part in ("bucket", "count", "sum")}
        files = [file for file in DEPLOY.rglob("*") if file.suffix in (".yml", ".yaml", ".json")]
        self.assertIn(DEPLOY / "monitoring/alerts.yml", files)
        for file in files:
            named = set(re.findall(r"\b(?:mtm|process)_\w+\b", file.read_text())) - {"mtm_server"}
            self.assertLessEqual(named, there, file)

    def test_it_is_ready_while_it_takes_requests(self):
        server = self.serve("--shutdown-grace-ms", "60000")
        self.assertEqual([self.get(path)[0] for path in ("/healthz", "/readyz")], [200, 200])
        request = v1.GenerateRequest(prompt="Dogs")
        request.parameters.mode = v1.MODE_EXACT
        request.parameters.max_tokens = 30000
        request.parameters.ignore_end_of_text = True
        stream = inference_grpc.InferenceServiceStub(server.channel).StreamGenerate(request)
        next(stream)
        server.process.terminate()
        deadline = time.monotonic() + 30
        while self.get("/readyz")[0] != 503:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(self.get("/healthz")[0], 200)
        stream.cancel()
        self.assertEqual(server.process.wait(60), 0)

    def test_an_address_that_is_none_is_an_error(self):
        with self.assertRaisesRegex(RuntimeError, "cannot serve metrics on 127.0.0.1:99999"):
            OperationsTest.serve(self, "--metrics-listen", "127.0.0.1:99999")


class TraceTest(OperationsTest):
    ID = "4bf92f3577b34da6a3ce929d0e0e4736"

    def trace_id_of(self, call):
        traceparent = dict(call.trailing_metadata())["traceparent"]
        self.assertRegex(traceparent, r"^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$")
        return traceparent.split("-")[1]

    def test_the_callers_trace_goes_on_in_the_answer_and_the_log(self):
        server = self.serve()
        stub = inference_grpc.InferenceServiceStub(server.channel)
        metadata = (("traceparent", f"00-{self.ID}-00f067aa0ba902b7-01"),)
        _, call = stub.GetModel.with_call(v1.GetModelRequest(), metadata=metadata)
        self.assertEqual(self.trace_id_of(call), self.ID)
        self.wait_for_log(server, rf"rpc=GetModel .*trace={self.ID}\n")
        with self.assertRaises(grpc.RpcError) as raised:
            stub.Generate(v1.GenerateRequest(), metadata=metadata)
        self.assertEqual(self.trace_id_of(raised.exception), self.ID)
        self.wait_for_log(server, rf"rpc=Generate status=INVALID_ARGUMENT .*trace={self.ID}\n")
        stream = stub.StreamGenerate(v1.GenerateRequest(prompt="Dogs"), metadata=metadata)
        list(stream)
        self.assertEqual(self.trace_id_of(stream), self.ID)
        upload = memory_grpc.MemoryServiceStub(server.channel).CreateMemory(iter(
            [memory_pb.CreateMemoryRequest(spec=memory_pb.CreateMemoryRequest.Spec(name="cats")),
             memory_pb.CreateMemoryRequest(text=b"Cats sleep.")]), metadata=metadata)
        list(upload)
        self.assertEqual(self.trace_id_of(upload), self.ID)

    def test_where_there_is_none_the_server_begins_one(self):
        server = self.serve()
        stub = inference_grpc.InferenceServiceStub(server.channel)
        ids = set()
        for metadata in ((), (("traceparent", "no trace"),),
                         (("traceparent", f"00-{self.ID}-00f067aa0ba902b7-01"),) * 2):
            _, call = stub.GetModel.with_call(v1.GetModelRequest(), metadata=metadata)
            ids.add(self.trace_id_of(call))
        self.assertEqual(len(ids - {self.ID}), 3)
        for trace_id in ids:
            self.wait_for_log(server, rf"rpc=GetModel .*trace={trace_id}\n")


class ChannelzTest(OperationsTest):
    def get_servers(self, server, token=None):
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return server.channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")(b"", metadata=metadata, timeout=60)

    def assert_fails(self, code, server, token=None):
        with self.assertRaises(grpc.RpcError) as raised:
            self.get_servers(server, token)
        self.assertEqual(raised.exception.code(), code, raised.exception.details())

    def test_it_answers_where_it_was_asked_for(self):
        self.assertEqual(self.get_servers(self.serve("--channelz"))[0], 0x0a)  # GetServersResponse.server
        self.assert_fails(grpc.StatusCode.UNIMPLEMENTED, self.serve())

    def test_with_tokens_it_is_for_admins_of_everything(self):
        rights = {"root": {"*": "admin"}, "team": {"team": "admin"}, "reader": {"*": "read"}}
        with server_process.Scratch() as own:
            access_file = own / "access.json"
            access_file.write_text(json.dumps({"tokens": [
                {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "rights": right}
                for name, right in rights.items()]}))
            server = self.serve("--channelz", "--access-file", str(access_file))
            self.assertEqual(self.get_servers(server, "root")[0], 0x0a)
            for token in ("team", "reader"):
                self.assert_fails(grpc.StatusCode.PERMISSION_DENIED, server, token)
            for token in (None, "wrong"):
                self.assert_fails(grpc.StatusCode.UNAUTHENTICATED, server, token)


class SignalTest(ScrapedTest):
    def test_sighup_reads_log_level_and_quotas_of_the_config_file_again(self):
        with server_process.Scratch() as own:
            config = own / "mtm.toml"
            config.write_text('[serve]\nlog-level = "warning"\n')
            with socket.create_server(("127.0.0.1", 0)) as free:
                address = f"127.0.0.1:{free.getsockname()[1]}"
            server = self.serve("--config", str(config), metrics_listen=address)
            stub = inference_grpc.InferenceServiceStub(server.channel)
            stub.GetModel(v1.GetModelRequest())
            self.wait_for("mtm_rpcs_active", 0)  # what is logged of it comes after its answer
            config.write_text('[serve]\nlog-level = "info"\nquota = [":memories=0"]\n')
            server.process.send_signal(signal.SIGHUP)
            self.wait_for_log(server, "event=config_reloaded log_level=info namespace_quotas=1")
            create = memory_pb.CreateMemoryRequest
            with self.assertRaises(grpc.RpcError) as raised:
                list(memory_grpc.MemoryServiceStub(server.channel).CreateMemory(iter(
                    [create(spec=create.Spec(name="cats")), create(text=b"Cats sleep.")])))
            self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertNotIn("rpc=GetModel", server.log())
            stub.GetModel(v1.GetModelRequest())
            self.wait_for_log(server, "rpc=GetModel status=OK")
            config.write_text('[serve]\nlog-level = "loud"\n')
            server.process.send_signal(signal.SIGHUP)
            self.wait_for_log(server, "event=config_not_reloaded")
            stub.GetModel(v1.GetModelRequest())
            self.assertEqual(server.stop(), 0)

    def test_sighup_does_not_end_a_server_with_certificates(self):
        with server_process.Scratch() as own:
            ca = certificates.Authority(own, "ca")
            server = self.serve(*ca.issue("server").flags(),
                                credentials=grpc.ssl_channel_credentials(ca.certificate.read_bytes()))
            server.process.send_signal(signal.SIGHUP)
            inference_grpc.InferenceServiceStub(server.channel).GetModel(v1.GetModelRequest())
            self.assertEqual(server.stop(), 0)


class SupervisorTest(OperationsTest):
    def test_it_hears_when_the_server_is_ready_and_when_it_stops(self):
        with server_process.Scratch() as own:
            for name in (str(own / "notify"), f"@mtm-{os.getpid()}"):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                    notify.bind(name.replace("@", "\0"))
                    notify.settimeout(60)
                    with unittest.mock.patch.dict(os.environ, NOTIFY_SOCKET=name):
                        server = self.serve()
                    self.assertEqual(notify.recv(100), b"READY=1")
                    inference_grpc.InferenceServiceStub(server.channel).GetModel(v1.GetModelRequest())
                    server.process.terminate()
                    self.assertEqual(notify.recv(100), b"STOPPING=1")
                    self.assertEqual(server.process.wait(60), 0)

    def test_one_that_does_not_listen_is_logged_and_does_not_matter(self):
        for name in ("/nowhere/notify", "x" * 200):
            with unittest.mock.patch.dict(os.environ, NOTIFY_SOCKET=name):
                server = self.serve()
            self.wait_for_log(server, "event=supervisor_not_notified state=READY=1")
            self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
