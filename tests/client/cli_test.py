#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every command of `mtm` against the real server, with a tiny model of random weights.

    tests/client/cli_test.py MTM MTM_SERVER [unittest's arguments]
"""
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tiny_model  # noqa: E402

TEXT = "A cat is a small animal. The cat likes milk, and the cat sleeps all day. " * 3
PATIENCE_S = 60
FLAGS = ("--max-versions", "3", "--index-min-tokens", "300", "--quota", "small:memories=1")


class Server:
    """mtm_server on a free loopback port."""

    def __init__(self, program, folder, *flags):
        port_file = folder / ("port" + "".join(flags).replace("/", ""))
        self.process = subprocess.Popen(
            [program, "serve", "--model", folder / "tiny", "--store", folder / "store", "--listen", "127.0.0.1:0",
             "--port-file", port_file, "--threads", "1", "--log-level", "critical", *flags])
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


class Proxy:
    """Forwards connections to an address, and cuts the first one off after so many bytes in either direction."""

    def __init__(self, target, cut_after):
        host, port = target.split(":")
        self.target = (host, int(port))
        self.left = cut_after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        first = True
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:  # closed
                return
            server = socket.create_connection(self.target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.forward, args=(source, sink, first), daemon=True).start()
            first = False

    def forward(self, source, sink, cut):
        try:
            while data := source.recv(65536):
                if cut:
                    self.left -= len(data)
                    if self.left < 0:
                        break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class CliTest(unittest.TestCase):
    mtm = server_program = None  # paths of the programs

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        tiny_model.write(cls.path / "tiny")
        cls.server = Server(cls.server_program, cls.path, *FLAGS)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.folder.cleanup()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}")

    def tearDown(self):
        for memory in self.json("memories")["memories"]:
            self.run_mtm("delete", memory["name"])

    def environment(self, address=None):
        return {**os.environ, "MTM_SERVER": address or self.server.address, "TERM": "xterm", "NO_COLOR": "1"}

    def run_mtm(self, *arguments, code=0, stdin="", address=None):
        done = subprocess.run([self.mtm, *arguments], input=stdin.encode(), capture_output=True, check=False,
                              timeout=PATIENCE_S, env=self.environment(address))
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        return done.stdout.decode(), done.stderr.decode()

    def json(self, *arguments, **options):
        return json.loads(self.run_mtm("--json", *arguments, **options)[0])

    def events(self, *arguments):
        return [json.loads(line) for line in self.run_mtm("--json", *arguments)[0].splitlines()]

    def error(self, *arguments, code, **options):
        out, err = self.run_mtm("--json", *arguments, code=code, **options)
        self.assertEqual(out, "")
        return json.loads(err)["error"]

    def remember(self, name="cats", *options):
        return self.json("remember", name, "-", *options, stdin=TEXT)

    def file(self, name, text):
        (self.path / name).write_text(text)
        return str(self.path / name)

    def versions(self, name="cats"):
        return [version["digest"] for version in self.json("show", name)["versions"]]

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
        made = self.json("remember", "team/cats", self.file("cats.txt", TEXT), "--layers", "2-3")
        self.assertEqual(made["layers"], [2, 3])
        self.assertEqual(int(made["token_count"]), len(self.json("tokenize", TEXT)["token_ids"]))
        self.assertEqual([source["label"] for source in made["sources"]], ["cats.txt"])
        for reference in ("team/cats", "team/cats@" + made["digest"][:8]):
            shown = self.json("show", reference)
            self.assertEqual([version["digest"] for version in shown.pop("versions")], [made["digest"]])
            self.assertEqual(shown, {**made, "versions": []} if "versions" in shown else
                             {key: value for key, value in made.items() if key != "versions"})
        self.assertEqual(self.json("memories")["memories"], [made])
        self.assertIn("team/cats", self.run_mtm("memories")[0])
        self.assertEqual(self.json("delete", "team/cats"), {"deleted": ["team/cats"]})
        self.assertEqual(self.json("memories")["memories"], [])

    def test_append_forget_and_rollback(self):
        one, two = self.file("one.txt", TEXT), self.file("two.txt", "The dog barks at the moon. ")
        both = self.json("remember", "cats", one, two)
        self.assertEqual([source["label"] for source in both["sources"]], ["one.txt", "two.txt"])
        first, second = self.versions()
        self.assertEqual(second, both["digest"])
        # What is left of it is what the first text made.
        forgotten = self.json("forget", "cats", "--source", "two.txt")
        self.assertEqual(forgotten["digest"], first)
        self.assertEqual(self.json("rollback", "cats", second[:8])["digest"], second)
        for digest in (first, second):
            use = self.events("generate", "-n", "1", "--memory", "cats@" + digest, "The dog")[0]["started"]["memory_uses"][0]
            self.assertEqual(use["memory"], "cats@" + digest)
        # Appending to a version that is no longer the current one changes nothing.
        self.assertEqual(self.error("append", "cats@" + first, two, code=5)["code"], "FAILED_PRECONDITION")
        appended = self.json("append", "cats@" + second, two, two, "--source", "more")
        self.assertEqual(int(appended["token_count"]), int(both["token_count"]) + 2 * int(both["sources"][1]["token_count"]))
        self.assertEqual(len(self.versions()), 3)  # --max-versions

        dogless = self.json("forget", "cats", "--text", "The dog barks", "--purge")
        self.assertEqual(self.versions(), [dogless["digest"]])
        self.run_mtm("forget", "cats", "--text", "The dog barks", code=3)
        fewer = self.json("forget", "cats", "--tokens", "0:10")
        self.assertEqual(int(fewer["token_count"]), int(dogless["token_count"]) - 10)
        self.run_mtm("forget", "cats", "--tokens", f"0:{fewer['token_count']}", code=5)
        replaced = self.json("remember", "cats", one, "--replace", "--dtype", "f16")
        self.assertEqual((replaced["data_type"], replaced["token_count"]), ("DATA_TYPE_F16", both["sources"][0]["token_count"]))
        self.run_mtm("remember", "dogs", one, "--replace", code=3)

    def test_labels_copies_and_filters(self):
        self.remember("cats", "--label", "topic=pets", "--metadata", '{"year": 2026}')
        self.assertEqual(self.json("copy", "cats", "team/cats")["digest"], self.json("show", "cats")["digest"])
        out, _ = self.run_mtm("label", "team/cats", "owner=me", "topic-")
        self.assertTrue(out.startswith("team/cats: owner=me"), out)
        self.assertEqual(self.json("show", "cats")["labels"], {"topic": "pets"})
        self.assertEqual(self.json("show", "cats")["metadata"], {"year": 2026})
        names = lambda *options: [memory["name"] for memory in self.json("memories", *options)["memories"]]
        self.assertEqual(names(), ["cats", "team/cats"])
        self.assertEqual(names("--prefix", "team/"), ["team/cats"])
        self.assertEqual(names("--label", "topic=pets"), ["cats"])
        self.run_mtm("unload", "cats", "team/cats")
        self.assertEqual(names("--state", "resident"), [])
        self.assertIn("cats: resident", self.run_mtm("load", "cats")[0])
        self.assertIn("cats", names("--state", "resident"))
        self.remember("small/a")
        self.assertEqual(self.error("remember", "small/b", "-", code=7, stdin=TEXT)["code"], "RESOURCE_EXHAUSTED")

    def test_verify_and_reindex(self):
        self.json("remember", "long", self.file("long.txt", TEXT * 5), "--layers", "2")
        self.assertIn("as written", self.run_mtm("verify", "long")[0])
        out, _ = self.run_mtm("reindex", "long")
        self.assertIn("recall@10", out)
        use = self.events("generate", "--memory", "long:layers=2", "-n", "1", "A cat")[0]["started"]
        self.assertEqual(use["memory_searches"], ["MEMORY_SEARCH_APPROXIMATE"])
        self.remember("cats")
        segment = self.path / "store" / "segments" / (self.json("show", "long")["digest"] + ".mtm")
        damaged = bytearray(segment.read_bytes())
        damaged[5000] ^= 1
        segment.write_bytes(damaged)
        _, err = self.run_mtm("verify", "cats", "long", code=8)
        self.assertIn(segment.name, err)
        self.run_mtm("generate", "--memory", "long:layers=2", "-n", "1", "A cat", code=8)
        self.assertIn("quarantined: long: ", self.run_mtm("memories")[1])
        self.assertIn("quarantined: ", self.run_mtm("show", "long")[0])
        self.run_mtm("generate", "--memory", "cats", "-n", "1", "A cat")

    def test_export_and_import(self):
        made = self.remember("cats", "--label", "topic=pets")
        file = self.path / "cats.mtm"
        self.run_mtm("export", "cats", str(file))
        whole = file.read_bytes()
        part = self.path / "again.mtm.part"
        part.write_bytes(whole[:len(whole) // 2])
        self.assertIn("going on after", self.run_mtm("export", "cats", str(part.with_suffix("")))[1])
        self.assertEqual(part.with_suffix("").read_bytes(), whole)
        self.assertEqual(self.json("import", "copy", str(file), "--label", "from=file")["digest"], made["digest"])
        self.assertEqual(self.json("show", "copy")["labels"], {"from": "file"})
        self.run_mtm("import", "copy", str(file), code=4)
        damaged = bytearray(whole)
        damaged[len(whole) // 2] ^= 1
        (self.path / "bad.mtm").write_bytes(damaged)
        self.run_mtm("import", "bad", str(self.path / "bad.mtm"), code=2)
        (self.path / "bad.mtm").write_bytes(whole[:-100])
        self.run_mtm("import", "bad", str(self.path / "bad.mtm"), code=2)

    def test_request_ids_and_detached_writes(self):
        for _ in range(2):
            self.remember("cats", "--request-id", "one")
        self.assertEqual(len(self.versions()), 1)
        text = self.file("more.txt", "More of it. ")
        accepted = self.json("append", "cats", text, "--detach", "--request-id", "two")
        for _ in range(2):
            self.assertEqual(self.json("wait", "two")["digest"], self.json("show", "cats")["digest"])
        # Again, when it is through: what it made.
        self.assertEqual(self.json("append", "cats", text, "--detach", "--request-id", "two")["name"], "cats")
        self.assertEqual(len(self.versions()), 2)
        self.assertIn("accepted", accepted)
        self.run_mtm("wait", "three", code=3)

    def test_a_lost_connection_is_taken_up(self):
        text = self.file("text.txt", TEXT * 100)
        with Proxy(self.server.address, cut_after=10_000) as proxy:
            out, err = self.run_mtm("remember", "cats", text, address=proxy.address)
        self.assertIn("trying again", err)
        self.assertIn("cats: ", out)
        self.assertEqual(len(self.versions()), 1)
        self.run_mtm("export", "cats", str(self.path / "whole.mtm"))
        with Proxy(self.server.address, cut_after=2_000_000) as proxy:
            _, err = self.run_mtm("export", "cats", str(self.path / "cut.mtm"), address=proxy.address)
        self.assertIn("trying again", err)
        self.assertEqual((self.path / "cut.mtm").read_bytes(), (self.path / "whole.mtm").read_bytes())
        with Proxy(self.server.address, cut_after=2_000_000) as proxy:
            _, err = self.run_mtm("import", "copy", str(self.path / "cut.mtm"), address=proxy.address)
        self.assertIn("trying again", err)
        self.assertEqual(self.versions("copy"), self.versions("cats"))

    def test_watch_and_a_read_only_replica(self):
        self.remember("cats")
        replica = Server(self.server_program, self.path, "--store-read-only")
        try:
            for address in (self.server.address, replica.address):
                with self.subTest(read_only=address == replica.address):
                    self.watch_a_change(address)
            self.run_mtm("generate", "--memory", "cats", "-n", "1", "A cat", address=replica.address)
            self.run_mtm("delete", "cats", code=5, address=replica.address)
            self.run_mtm("remember", "dogs", "-", stdin=TEXT, code=5, address=replica.address)
        finally:
            self.assertEqual(replica.stop(), 0)

    def watch_a_change(self, address):
        watch = subprocess.Popen([self.mtm, "watch", "--json", "--prefix", "ca"], stdout=subprocess.PIPE,
                                 env=self.environment(address))
        seen = []
        def read_until(kind, name=None):
            for line in watch.stdout:
                seen.append(json.loads(line))
                if kind in seen[-1] and name in (None, seen[-1][kind], seen[-1][kind].get("name", None)
                                                 if isinstance(seen[-1][kind], dict) else None):
                    return
            self.fail(f"watch ended: {seen}")
        read_until("synced")
        self.assertEqual([event["updated"]["name"] for event in seen[:-1]], ["cats"])
        self.remember("dogs")
        self.remember("calves")
        read_until("updated", "calves")
        self.run_mtm("delete", "calves", "dogs")
        read_until("deleted", "calves")
        self.assertNotIn("dogs", json.dumps(seen))
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
        watch.stdout.close()
        self.assertEqual(watch.wait(PATIENCE_S), 130)

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
        events = self.events(*common)
        self.assertIn("started", events[0])
        self.assertIn("finished", events[-1])
        streamed = "".join(event.get("token", event.get("sample_finished", {})).get("text", "") for event in events)
        self.assertEqual(streamed + "\n", text)
        self.assertGreater(int(events[-1]["finished"]["usage"]["tokens_heads_changed"]), 0)
        use = events[0]["started"]["memory_uses"][0]
        self.assertEqual((use["layers"], use["k"], use["bookkeeping_fraction"]), ([3], 5, 0))
        self.assertIn("tokens-heads changed", self.run_mtm("-v", *common)[1])

    def test_what_of_a_prompt_was_run_before_is_told(self):
        prompt = "A cat is an animal. " * 2
        self.assertNotIn("prompt tokens reused", self.run_mtm("-v", "generate", "-n", "2", "--ignore-end", prompt)[1])
        self.assertRegex(self.run_mtm("-v", "generate", "-n", "2", "--ignore-end", prompt + "It")[1],
                         r"[0-9]+ of [0-9]+ prompt tokens reused")

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
        code, shown = self.on_terminal("generate", "-n", "5", "--ignore-end", "A cat")
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
