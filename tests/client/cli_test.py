#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every command of `mtm` against the real server, with a tiny model of random weights.

    tests/client/cli_test.py MTM MTM_SERVER [unittest's arguments]
"""
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

TEXT = "A cat is a small animal. The cat likes milk, and the cat sleeps all day. " * 3
PATIENCE_S = 60


class Server:
    """mtm_server on a free loopback port."""

    def __init__(self, program, folder):
        folder = pathlib.Path(folder)
        tiny_model.write(folder / "tiny")
        port_file = folder / "port"
        self.process = subprocess.Popen(
            [program, "serve", "--model", folder / "tiny", "--store", folder / "store", "--listen", "127.0.0.1:0",
             "--port-file", port_file, "--threads", "1", "--log-level", "warning"])
        deadline = time.monotonic() + PATIENCE_S
        while not (port_file.exists() and port_file.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        self.address = "127.0.0.1:" + port_file.read_text().strip()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class CliTest(unittest.TestCase):
    mtm = server_program = None  # paths of the programs

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.server = Server(cls.server_program, cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.folder.cleanup()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}")

    def tearDown(self):
        for memory in self.json("memories")["memories"]:
            self.run_mtm("delete", memory["name"])

    def environment(self):
        return {**os.environ, "MTM_SERVER": self.server.address, "TERM": "xterm", "NO_COLOR": "1"}

    def run_mtm(self, *arguments, code=0, stdin=""):
        done = subprocess.run([self.mtm, *arguments], input=stdin.encode(), capture_output=True, check=False,
                              timeout=PATIENCE_S, env=self.environment())
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        return done.stdout.decode(), done.stderr.decode()

    def json(self, *arguments, **options):
        return json.loads(self.run_mtm("--json", *arguments, **options)[0])

    def error(self, *arguments, code, **options):
        out, err = self.run_mtm("--json", *arguments, code=code, **options)
        self.assertEqual(out, "")
        return json.loads(err)["error"]

    def remember(self, name="cats"):
        return self.json("remember", name, "-", stdin=TEXT)

    def on_terminal(self, *arguments, columns=100, interrupt_after=None):
        """Runs mtm on a terminal of its own; returns its exit code and what stood there."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(self.mtm, [str(self.mtm), *arguments], self.environment())
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        shown = b""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if interrupt_after and interrupt_after in shown:
                os.write(terminal, b"\x03")
                interrupt_after = None
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")

    def test_model(self):
        model = self.json("model")
        self.assertEqual(model["layer_count"], tiny_model.LAYERS)
        self.assertEqual(model["context_length"], tiny_model.CONTEXT)
        self.assertTrue(model["has_tokenizer"])
        self.assertIn("tiny", self.run_mtm("model")[0])

    def test_tokenize_and_back(self):
        ids = self.json("tokenize", "a cat")["token_ids"]
        self.assertEqual(self.run_mtm("tokenize", "a cat")[0], " ".join(map(str, ids)) + "\n")
        self.assertEqual(self.json("detokenize", *map(str, ids))["text"], "a cat")
        self.assertEqual(self.run_mtm("detokenize", "-", stdin=",".join(map(str, ids)))[0], "a cat\n")
        self.assertEqual(self.error("detokenize", "9999999", code=2)["code"], "INVALID_ARGUMENT")

    def test_life_of_a_memory(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(TEXT)
            file.flush()
            made = self.json("remember", "team/cats", file.name, "--layers", "2-3")
        self.assertEqual(made["layers"], [2, 3])
        self.assertEqual(int(made["token_count"]), len(self.json("tokenize", TEXT)["token_ids"]))
        self.assertEqual(self.json("show", "team/cats"), made)
        self.assertEqual(self.json("show", "team/cats@" + made["digest"][:8]), made)
        self.assertEqual(self.json("memories")["memories"], [made])
        self.assertIn("team/cats", self.run_mtm("memories")[0])
        self.assertEqual(self.json("delete", "team/cats"), {"deleted": ["team/cats"]})
        self.assertEqual(self.json("memories")["memories"], [])

    def test_memory_of_token_ids_is_that_of_the_text(self):
        ids = self.run_mtm("tokenize", "\n" + TEXT)[0]
        by_ids = self.json("remember", "ids", "-", "--tokens", "--drop", "1", stdin=ids)
        self.assertGreater(int(by_ids["token_count"]), 0)
        self.assertEqual(self.error("remember", "words", "-", "--tokens", code=2, stdin="one")["code"],
                         "INVALID_ARGUMENT")

    def test_errors_have_codes_and_exit_codes(self):
        self.remember()
        self.assertEqual(self.error("remember", "cats", "-", code=4, stdin=TEXT)["code"], "ALREADY_EXISTS")
        missing = self.error("show", "cast", code=3)
        self.assertEqual(missing["code"], "NOT_FOUND")
        self.assertIn("cats", missing["message"])
        self.run_mtm("generate", "--memory", "dogs", "x", code=3)
        self.run_mtm("delete", "dogs", code=3)
        self.json("remember", "low", "-", "--layers", "1", stdin=TEXT)
        self.assertEqual(self.error("generate", "--memory", "low:layers=4", "x", code=5)["code"],
                         "FAILED_PRECONDITION")
        self.assertEqual(self.error("generate", "--memory", "cats:k=0", "x", code=2)["fields"][0]["field"],
                         "memory_uses[0].k")
        self.assertEqual(len(self.error("generate", "--memory", "cats:k=0,bf=nan", "--top-p", "7", "x",
                                        code=2)["fields"]), 3)
        self.assertEqual(self.error("remember", "Cats!", "-", code=2, stdin=TEXT)["code"], "INVALID_ARGUMENT")
        self.assertEqual(self.error("remember", "empty", "-", code=2)["code"], "INVALID_ARGUMENT")
        self.assertEqual(self.error("generate", "--no-newline", "", code=2)["code"], "INVALID_ARGUMENT")
        self.assertEqual(self.error("generate", "x" * 1000, code=2)["code"], "INVALID_ARGUMENT")
        self.run_mtm("--server", "127.0.0.1:1", "model", code=6)
        self.run_mtm("generate", "--mode", "quick", "x", code=2)

    def test_generate(self):
        self.remember()
        common = ("generate", "-n", "8", "--seed", "5", "--memory", "cats:layers=3,mf=5,bf=0", "A cat")
        text, noise = self.run_mtm(*common)
        self.assertEqual(noise, "")
        self.assertEqual(self.run_mtm(*common)[0], text)
        self.assertEqual(self.run_mtm("generate", "-n", "8", "--seed", "5", "--memory",
                                      "cats:layers=3,mf=5,bf=0", "-", stdin="A cat\n")[0], text)
        events = [json.loads(line) for line in self.run_mtm("--json", *common)[0].splitlines()]
        self.assertIn("started", events[0])
        self.assertIn("finished", events[-1])
        streamed = "".join(event.get("token", event.get("sample_finished", {})).get("text", "") for event in events)
        self.assertEqual(streamed + "\n", text)
        self.assertGreater(int(events[-1]["finished"]["usage"]["tokens_heads_changed"]), 0)
        use = events[0]["started"]["memory_uses"][0]
        self.assertEqual((use["layers"], use["k"], use["bookkeeping_fraction"]), ([3], 5, 0))
        self.assertIn("tokens-heads changed", self.run_mtm("-v", *common)[1])

    def test_generate_options(self):
        ids = self.run_mtm("tokenize", "\nA cat")[0].strip()
        by_text = self.run_mtm("generate", "--temperature", "0", "-n", "4", "--mode", "exact", "A cat")[0]
        by_ids = self.run_mtm("generate", "--temperature", "0", "-n", "4", "--mode", "exact", "--tokens", ids)[0]
        self.assertEqual(by_text, by_ids)
        out, _ = self.run_mtm("generate", "-n", "3", "--samples", "2", "--logprobs", "2", "--top-k", "5", "A cat")
        self.assertIn("== sample 2 of 2 ==", out)
        self.assertIn("most probable", out)

    def test_compare(self):
        self.remember()
        both = self.json("compare", "--memory", "cats", "--bf", "0", "--layers", "2-3", "-n", "5", "A cat")
        self.assertEqual(both["with"]["applied"]["parameters"]["sampling"],
                         both["without"]["applied"]["parameters"]["sampling"])
        self.assertEqual(both["without"]["applied"]["memory_uses"], [])
        self.assertGreater(int(both["with"]["usage"]["tokens_heads_changed"]), 0)
        out, _ = self.run_mtm("compare", "--memory", "cats", "-n", "5", "A cat")
        self.assertIn("── without memory ──", out)
        self.assertIn("tokens-heads changed", out)

    def test_trace(self):
        self.remember()
        options = ("trace", "--memory", "cats", "--bf", "0", "--layers", "3", "-k", "2", "A cat")
        trace = self.json(*options)["samples"][0]["trace"]
        self.assertGreater(len(trace), 0)
        self.assertTrue(all(entry["layer"] == 3 and len(entry["neighbours"]) == 2 for entry in trace))
        out, _ = self.run_mtm(*options)
        self.assertIn("step 0, generated ", out)
        capped = self.json(*options, "--max-entries", "1")["samples"][0]
        self.assertEqual(len(capped["trace"]), 1)
        self.assertEqual(int(capped["trace_entries_left_out"]), len(trace) - 1)

    def test_score(self):
        self.remember()
        plain = self.json("score", "A", " cat", "--logprobs", "3")
        self.assertEqual(len(plain["tokens"]), 1)
        self.assertEqual(len(plain["tokens"][0]["top"]), 3)
        self.assertLess(plain["total_logprob"], 0)
        with_memory = self.json("score", "--memory", "cats:bf=0,layers=3", "A", " cat")
        self.assertNotEqual(plain["total_logprob"], with_memory["total_logprob"])
        self.assertIn("perplexity", self.run_mtm("score", "A", " cat")[0])

    def test_terminal(self):
        self.remember()
        code, shown = self.on_terminal("compare", "--memory", "cats", "-n", "5", "A cat")
        self.assertEqual(code, 0, shown)
        self.assertIn(" │ with cats", shown)
        self.assertNotIn("\x1b[1m", shown)  # NO_COLOR
        code, shown = self.on_terminal("generate", "-n", "5", "A cat")
        self.assertEqual(code, 0, shown)
        self.assertIn("[token limit reached: 5 tokens", shown)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(TEXT * 20)
            file.flush()
            code, shown = self.on_terminal("remember", "bar", file.name)
        self.assertEqual(code, 0, shown)
        self.assertIn("█", shown)

    def test_interrupt(self):
        code, shown = self.on_terminal("generate", "-n", "50000", "--mode", "exact", "--samples", "64", "--ignore-end",
                                       "A cat", interrupt_after=b"sample 1 of 64 ==\r\n")
        self.assertEqual(code, 130, shown)
        code, _ = self.on_terminal("remember", "half", "-", interrupt_after="half  …".encode())
        self.assertEqual(code, 130)
        self.assertEqual(self.json("memories")["memories"], [])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    CliTest.mtm, CliTest.server_program = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
