#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`mtm top`: what it makes of metrics over HTTP, and of those of a real server.

    tests/client/top_test.py MTM MTM_SERVER [unittest's arguments]
"""
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cli_test  # noqa: E402
import tiny_model  # noqa: E402

INTERVAL = ("--interval", "0.1")


class Metrics(http.server.ThreadingHTTPServer):
    """Answers with one text after the other, then with the last one again and again."""

    def __init__(self, *texts, status=200):
        super().__init__(("127.0.0.1", 0), Handler)
        self.texts, self.status = list(texts), status
        self.address = "127.0.0.1:%d" % self.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        texts = self.server.texts
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        self.send_response(self.server.status if self.path == "/metrics" else 404)
        self.end_headers()
        try:
            while self.server.texts == ["endless"]:
                self.wfile.write(b"x" * 65536)
            self.wfile.write(text.encode())
        except OSError:  # the client has enough
            pass

    def log_message(self, *_):
        pass


class TopTest(unittest.TestCase):
    mtm = server_program = None  # paths of the programs

    def top(self, address, *flags, code=0):
        result = subprocess.run([self.mtm, "top", "--metrics", address, *INTERVAL, *flags], capture_output=True,
                                text=True, timeout=cli_test.PATIENCE_S)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout if code == 0 else result.stderr

    def test_once(self):
        texts = [f"mtm_rpcs_total{{rpc=\"Score\",code=\"OK\"}} {n}\nmtm_requests_waiting 3\n" for n in (1, 101)]
        with Metrics(*texts) as metrics:
            shown = json.loads(self.top(metrics.address, "--once", "--json"))
        self.assertEqual(shown["requests_waiting"], 3)
        self.assertTrue(0 < shown["rpcs"]["Score"]["per_second"] <= 1000, shown)
        with Metrics(*texts) as metrics:
            shown = self.top(metrics.address, "--once")
        self.assertIn("3 of them waiting", shown)
        self.assertNotIn("\x1b", shown)

    def test_goes_on_over_a_restart_until_interrupted(self):
        with Metrics("mtm_requests_waiting 1\n", "mtm_requests_waiting 2\n", "<html>", "mtm_requests_waiting 3\n") as metrics:
            process = subprocess.Popen([self.mtm, "top", "--metrics", metrics.address, *INTERVAL, "--json"],
                                       stdout=subprocess.PIPE, text=True)
            waiting = [json.loads(process.stdout.readline())["requests_waiting"] for _ in range(3)]
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            process.stdout.close()
            self.assertEqual(process.wait(cli_test.PATIENCE_S), 130)
        self.assertEqual(waiting, [2, 3, 3])

    def test_on_a_terminal_the_screen_is_given_back(self):
        with Metrics("mtm_requests_waiting 5\n") as metrics:
            test = cli_test.CliTest()
            test.mtm, test.server = self.mtm, metrics
            code, shown = test.on_terminal("top", "--metrics", metrics.address, *INTERVAL, interrupt_after=b"5 of them waiting")
        self.assertEqual(code, 130, shown)
        self.assertIn("\x1b[?1049h", shown)
        self.assertTrue(shown.rstrip().endswith("\x1b[?1049l"), shown)

    def test_what_is_no_server_with_metrics_is_an_error_of_one_line(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            error = self.top("127.0.0.1:%d" % unused.getsockname()[1], code=6)
        self.assertIn("--metrics-listen", error)
        for text, status in (("<html>", 200), ("", 404), ("endless", 200)):
            with Metrics(text, status=status) as metrics:
                error = self.top(metrics.address, code=6)
            self.assertIn(metrics.address, error)
            self.assertEqual(error.count("\n"), 1, error)
        for address in ("9464", "host", ":1", "host:0", "host:99999", "host:x"):
            self.assertIn(address, self.top(address, code=2))


class RealServerTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        folder = pathlib.Path(scratch.name)
        tiny_model.write(folder / "tiny")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.metrics = "127.0.0.1:%d" % free.getsockname()[1]
        server = cli_test.Server(TopTest.server_program, folder, "--metrics-listen", self.metrics)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        self.environment = {**os.environ, "MTM_SERVER": server.address, "MTM_METRICS": self.metrics}

    def start(self, *arguments):
        return subprocess.Popen([TopTest.mtm, *arguments], env=self.environment, text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)

    def run_mtm(self, *arguments, text=""):
        process = self.start(*arguments)
        process.communicate(text, timeout=cli_test.PATIENCE_S)
        self.assertEqual(process.returncode, 0, arguments)

    def test_shows_what_the_server_does(self):
        top = self.start("top", "--json", *INTERVAL)
        self.run_mtm("remember", "cats", "-", text=cli_test.TEXT)
        self.run_mtm("generate", "--memory", "cats:bf=0", "-n", "4", "A cat")
        for line in top.stdout:
            shown = json.loads(line)
            if shown["generated_tokens_per_second"] > 0:
                break
        top.send_signal(signal.SIGINT)
        top.communicate()
        self.assertGreater(shown["rpcs"]["StreamGenerate"]["per_second"], 0)
        self.assertGreater(shown["time_to_first_token_seconds"]["p50"], 0)
        self.assertGreater(shown["tokens_heads_changed_share"], 0)
        self.assertGreaterEqual(shown["mean_batch_size"], 1)
        self.assertEqual(sum(shown["memories"].values()), 1)
        self.assertGreater(shown["process_resident_bytes"], 1 << 20)
        self.assertLess(abs(shown["process_start_time_seconds"] - time.time()), 3600)

    def test_every_metric_that_is_read_is_there(self):
        self.run_mtm("generate", "-n", "2", "A cat")
        with urllib.request.urlopen(f"http://{self.metrics}/metrics") as answer:
            names = set(re.findall(r"^(\w+)", answer.read().decode(), re.MULTILINE))
        source = (HERE.parent.parent / "client/top/activity.cc").read_text()
        read = set(re.findall(r'(?:Sum|SumsBy|Of|Rate|Rates|PercentilesOf|\] =)\W*"((?:mtm|process)_\w+)"', source))
        self.assertGreater(len(read), 15)
        self.assertEqual({name for name in read if not names & {name, name + "_bucket"}}, set())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    TopTest.mtm, TopTest.server_program = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
