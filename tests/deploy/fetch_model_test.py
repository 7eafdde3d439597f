# SPDX-License-Identifier: Apache-2.0
"""deploy/fetch_model.sh against a local server laid out as the hub is."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

from fake_hub import Hub

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "fetch_model.sh"
WEIGHTS = random.Random(1).randbytes(300_000)
FILES = {
    "config.json": b'{"model_type": "gpt2"}',
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"#version: 0.2\n",
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "README.md": b"not wanted",
    "pytorch_model.bin": b"not wanted",
}


class FetchModelTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.target = self.folder / "gpt2"
        self.part = self.folder / "gpt2.part"
        self.path = self.without_waiting()

    def without_waiting(self):
        """A PATH on which `sleep` returns at once."""
        commands = self.folder / "bin"
        commands.mkdir()
        (commands / "sleep").symlink_to(shutil.which("true"))
        return f"{commands}:{os.environ['PATH']}"

    def fetch(self, hub, *arguments, name="gpt2", **environment):
        env = {key: value for key, value in os.environ.items()
               if not key.startswith("HF_") and not key.lower().endswith("_proxy")}
        env.update(PATH=self.path, HF_ENDPOINT=hub if isinstance(hub, str) else hub.endpoint, **environment)
        return subprocess.run([SCRIPT, *arguments, name, self.target], env=env, text=True, capture_output=True, timeout=100)

    def assert_fetched(self, result, files=FILES):
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        wanted = {name: data for name, data in files.items() if data != b"not wanted"}
        self.assertEqual({path.name: path.read_bytes() for path in self.target.iterdir()}, wanted)
        self.assertFalse(self.part.exists())

    def assert_refused(self, result, *words):
        """One sentence, and no folder that looks whole."""
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("error: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertFalse(self.target.exists())

    def test_makes_the_folder_with_the_files_of_a_model_only(self):
        with Hub(FILES) as hub:
            self.assert_fetched(self.fetch(hub))
            before = len(hub.requests)
            self.assertEqual(self.fetch(hub).returncode, 0)
            self.assertEqual(len(hub.requests), before, "a folder that is there is left alone")

    def test_short_names_and_other_repositories(self):
        for name, repository in {"medium": "openai-community/gpt2-medium", "distilgpt2": "distilbert/distilgpt2",
                                 "someone/else": "someone/else"}.items():
            with self.subTest(name), Hub(FILES, repository=repository) as hub:
                self.target = self.folder / name.replace("/", "-")
                self.assert_fetched(self.fetch(hub, name=name))

    def test_a_revision_with_a_slash(self):
        with Hub(FILES, revision="refs/pr/1") as hub:
            self.assert_fetched(self.fetch(hub, "--revision", "refs/pr/1"))

    def test_shards_of_an_index(self):
        files = {name: FILES[name] for name in ("config.json", "tokenizer.json")}
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {
            "wte.weight": "model-00001-of-00002.safetensors", "wpe.weight": "model-00002-of-00002.safetensors",
            "ln_f.weight": "model-00001-of-00002.safetensors"}}).encode()
        files["model-00001-of-00002.safetensors"] = WEIGHTS[:1000]
        files["model-00002-of-00002.safetensors"] = WEIGHTS[1000:]
        with Hub(files, large=("model-",)) as hub:
            self.assert_fetched(self.fetch(hub), files)

    def test_an_index_that_points_elsewhere_is_refused(self):
        files = {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"w": "../../escaped"}}'}
        with Hub(files) as hub:
            self.assert_refused(self.fetch(hub), "../../escaped", "model.safetensors.index.json")
        with Hub({"config.json": b"{}", "model.safetensors.index.json": b"[]"}) as hub:
            self.assert_refused(self.fetch(hub), "weight_map")

    def test_broken_connections_are_resumed(self):
        with Hub(FILES) as hub:
            hub.cut_after = {"model.safetensors": [100_000, 50_000], "merges.txt": [5]}
            self.assert_fetched(self.fetch(hub))
            ranges = [request[3] for request in hub.requests if request[0] == "store"]
            self.assertEqual(ranges, [None, "bytes=100000-", "bytes=150000-"])

    def test_a_second_run_goes_on_where_the_first_stopped(self):
        with Hub(FILES) as hub:
            hub.status = {"model.safetensors": 410}
            self.assert_refused(self.fetch(hub), "model.safetensors", "410")
            (self.part / "model.safetensors").write_bytes(WEIGHTS[:123_456])
            hub.status, hub.requests = {}, []
            self.assert_fetched(self.fetch(hub))
            self.assertEqual([request[3] for request in hub.requests if request[0] == "store"], ["bytes=123456-"])
            self.assertFalse([path for _, path, _, _ in hub.requests if path.endswith("vocab.json")])

    def test_a_part_of_something_else_is_fetched_anew(self):
        for stale in (b"x" * 1000, b"x" * len(WEIGHTS), b"x" * (len(WEIGHTS) + 1)):
            with self.subTest(len(stale)), Hub(FILES) as hub:
                self.target = self.folder / str(len(stale))
                part = self.folder / f"{len(stale)}.part"
                part.mkdir()
                (part / "model.safetensors").write_bytes(stale)
                (part / "pytorch_model.bin").write_bytes(stale)
                self.assert_fetched(self.fetch(hub))

    def test_a_server_without_ranges_is_asked_from_the_start(self):
        with Hub(FILES) as hub:
            hub.ranges = False
            hub.cut_after = {"model.safetensors": [100_000]}
            self.assert_fetched(self.fetch(hub))

    def test_a_connection_that_always_breaks_is_given_up(self):
        with Hub(FILES) as hub:
            hub.cut_after = {"vocab.json": [0] * 100}
            self.assert_refused(self.fetch(hub), "vocab.json", "gave up", "0 of 8 bytes")

    def test_a_busy_hub_is_asked_again(self):
        with Hub(FILES) as hub:
            hub.status = {"vocab.json": 503}
            self.assert_refused(self.fetch(hub), "vocab.json", "503")
            self.assertEqual(len([path for _, path, _, _ in hub.requests if path.endswith("vocab.json")]), 5)

    def test_wrong_content_is_deleted(self):
        for name in ("model.safetensors", "vocab.json"):
            for wrong in (FILES[name][:-1] + b"!", FILES[name] + b"!", FILES[name][:-1]):
                with self.subTest(name=name, size=len(wrong)), Hub(FILES) as hub:
                    hub.served = {name: wrong}
                    shutil.rmtree(self.part, ignore_errors=True)
                    self.assert_refused(self.fetch(hub), name, "hash", "deleted")
                    self.assertFalse((self.part / name).exists())

    def test_the_token_goes_to_the_hub_only(self):
        with Hub(FILES) as hub:
            hub.token = "hf_secret"
            self.assert_refused(self.fetch(hub), "openai-community/gpt2", "HF_TOKEN is not set")
            self.assert_refused(self.fetch(hub, HF_TOKEN="hf_wrong"), "HF_TOKEN is set")
            hub.requests = []
            result = self.fetch(hub, HF_TOKEN="hf_secret")
            self.assert_fetched(result)
            self.assertNotIn("hf_secret", result.stdout)
            tokens = {(host, token) for host, _, token, _ in hub.requests}
            self.assertEqual(tokens, {("hub", "Bearer hf_secret"), ("store", None)})

    def test_a_token_cannot_smuggle_in_curl_options(self):
        with Hub(FILES) as hub:
            self.assert_refused(self.fetch(hub, HF_TOKEN='x"\noutput = "evil'), "HF_TOKEN")

    def test_what_is_not_there_is_named(self):
        with Hub(FILES) as hub:
            self.assert_refused(self.fetch(hub, name="gpt2-large"), "openai-community/gpt2-large")
            self.assert_refused(self.fetch(hub, name="gpt3"), "gpt3", "distilgpt2")
            self.assert_refused(self.fetch(hub, "--revision", "v9"), "v9")
            hub.status = {"merges.txt": 404}
            self.assert_refused(self.fetch(hub), "openai-community/gpt2", "merges.txt")
        for missing in ("config.json", "model.safetensors"):
            with Hub({name: data for name, data in FILES.items() if name != missing}) as hub:
                self.assert_refused(self.fetch(hub), missing)

    def test_no_network_is_one_sentence(self):
        with Hub(FILES) as hub:
            closed = hub.endpoint
        self.assert_refused(self.fetch(closed), closed, "cannot be reached")
        self.assert_refused(self.fetch("http://hub.invalid"), "hub.invalid", "cannot be reached")

    def test_an_answer_that_is_no_listing(self):
        with Hub(FILES) as hub:
            for body in (b"<html>", b"{}", b"[]", b'[{"type": "file", "path": "config.json"}]'):
                hub.listing = lambda body=body: body
                self.assert_refused(self.fetch(hub), "no list of files")

    def test_a_folder_of_something_else_is_left_alone(self):
        self.target.mkdir()
        (self.target / "thesis.txt").write_text("important")
        with Hub(FILES) as hub:
            result = self.fetch(hub)
        self.assertEqual(result.returncode, 1)
        self.assertIn("no model folder", result.stderr)
        self.assertEqual((self.target / "thesis.txt").read_text(), "important")

    def test_more_than_the_disk_holds_is_refused_at_once(self):
        with Hub(FILES) as hub:
            listing = hub.listing().replace(b'"size": 300000', b'"size": 900000000000000')
            hub.listing = lambda: listing
            self.assert_refused(self.fetch(hub), "too full")


if __name__ == "__main__":
    unittest.main()
