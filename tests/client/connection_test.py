#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`mtm` and a server with TLS and tokens: who gets in, and what the others are told.

    tests/client/connection_test.py MTM MTM_SERVER [unittest's arguments]
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "rpc")]
import certificates  # noqa: E402
import cli_test  # noqa: E402
import tiny_model  # noqa: E402

TOKEN = "0123456789abcdef0123456789abcdef"


class ConnectionTest(unittest.TestCase):
    mtm = server_program = None  # paths of the programs

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.folder = folder = pathlib.Path(cls.scratch.name)
        tiny_model.write(folder / "tiny")
        cls.ca, cls.other_ca = (certificates.Authority(folder, name) for name in ("ca", "other_ca"))
        cls.pair = cls.ca.issue("server")
        cls.client = cls.ca.issue("client")
        cls.access = folder / "access.json"
        cls.access.write_text(json.dumps({"tokens": [
            {"name": "reader", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "rights": {"*": "read"}}]}))
        cls.token_file = folder / "token"
        cls.token_file.write_text(TOKEN + "\n")

    def serve(self, *flags):
        folder = tempfile.TemporaryDirectory(dir=self.folder)
        self.addCleanup(folder.cleanup)
        own = pathlib.Path(folder.name)
        (own / "tiny").symlink_to(self.folder / "tiny")
        server = cli_test.Server(self.server_program, own, *map(str, flags))
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        return server.address

    def run_mtm(self, address, *arguments, code=0, **environment):
        """Standard error."""
        return self.all_of(address, [arguments], code, **environment)[0]

    def all_of(self, address, commands, code, **environment):
        """Those that try again wait beside each other."""
        environment = {**os.environ, "MTM_SERVER": address, **{name: str(value) for name, value in environment.items()}}
        processes = [subprocess.Popen([self.mtm, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                      text=True, env=environment) for command in commands]
        errors = [process.communicate(timeout=cli_test.PATIENCE_S)[1] for process in processes]
        for process, error in zip(processes, errors):
            self.assertEqual(process.returncode, code, (process.args, error))
        return errors

    def test_a_server_is_trusted_by_its_ca(self):
        address = self.serve(*self.pair.flags())
        self.run_mtm(address, "--tls-ca", self.ca.certificate, "model")
        self.run_mtm(address, "model", MTM_TLS_CA=self.ca.certificate)
        # gRPC's variable stands for the CAs of this system.
        self.run_mtm(address, "--tls", "model", GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=self.ca.certificate)
        self.run_mtm("localhost:" + address.split(":")[1], "model", "--tls-ca", self.ca.certificate)
        other, system, plain = self.all_of(
            address, [["--tls-ca", self.other_ca.certificate, "model"], ["--tls", "model"], ["model"]], code=6)
        self.assertIn("certificate verify failed", other)
        self.assertIn("certificate verify failed", system)
        self.assertIn("--tls", plain)

    def test_a_certificate_of_another_host_is_not_trusted(self):
        address = self.serve(*self.ca.issue("elsewhere", "DNS:example.com").flags())
        self.run_mtm(address, "--tls-ca", self.ca.certificate, "model", code=6)

    def test_mutual_tls(self):
        address = self.serve(*self.pair.flags(), "--tls-client-ca", self.ca.certificate)
        trust = ["--tls-ca", self.ca.certificate]
        self.run_mtm(address, *trust, *self.client.flags(), "model")
        stranger = self.other_ca.issue("stranger")
        self.all_of(address, [[*trust, "model"], [*trust, *stranger.flags(), "model"]], code=6)

    def test_a_token_over_tls(self):
        address = self.serve(*self.pair.flags(), "--access-file", self.access)
        trust = ["--tls-ca", self.ca.certificate]
        self.run_mtm(address, *trust, "--token-file", self.token_file, "generate", "-n", "1", "A cat")
        self.check_tokens(address, *trust)

    def test_a_token_without_tls_on_the_loopback(self):
        self.check_tokens(self.serve("--access-file", self.access))

    def check_tokens(self, address, *flags):
        self.run_mtm(address, *flags, "memories", MTM_TOKEN=TOKEN)
        self.run_mtm(address, *flags, "memories", MTM_TOKEN_FILE=self.token_file, MTM_TOKEN="wrong")
        self.assertIn("UNAUTHENTICATED", self.run_mtm(address, *flags, "memories", code=9))
        self.assertIn("UNAUTHENTICATED", self.run_mtm(address, *flags, "memories", code=9, MTM_TOKEN="wrong"))
        text = self.folder / "text"
        text.write_text("A cat")
        self.assertIn("PERMISSION_DENIED",
                      self.run_mtm(address, *flags, "remember", "team/cats", text, code=9, MTM_TOKEN=TOKEN))

    def test_a_token_is_not_sent_to_another_machine_in_the_clear(self):
        error = self.run_mtm("192.0.2.1:50051", "model", code=2, MTM_TOKEN=TOKEN)
        self.assertIn("192.0.2.1:50051", error)
        self.assertIn("--tls", error)
        self.assertNotIn(TOKEN, error)

    def test_files_that_are_no_good_are_errors_of_one_line(self):
        missing = self.folder / "missing"
        text = self.folder / "no_pem"
        text.write_text("two words")
        ca, certificate, key = self.ca.certificate, self.client.certificate, self.client.key
        for flags, named in (
                (["--tls-ca", missing], missing), (["--tls-ca", text], text), (["--tls-ca", key], key),
                (["--tls-cert", certificate, "--tls-key", self.pair.key], self.pair.key),
                (["--tls-cert", certificate, "--tls-key", certificate], certificate),
                (["--tls-cert", key, "--tls-key", key], key),
                (["--tls-cert", certificate], "--tls-key"), (["--tls-key", key], "--tls-cert"),
                (["--token-file", missing], missing), (["--token-file", text], text)):
            error = self.run_mtm("127.0.0.1:1", *flags, "model", code=2)
            self.assertIn(str(named), error)
            self.assertEqual(error.count("\n"), 1, error)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    ConnectionTest.mtm, ConnectionTest.server_program = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
