# SPDX-License-Identifier: Apache-2.0
"""A mtm_server process with TLS, and clients that should and should not get in."""

import asyncio
import os
import ssl
import socket
import subprocess
import unittest

import grpc

import certificates
import server_process


def setUpModule():
    global model, ca, other_ca, good, v1, inference_grpc
    folder = server_process.module_folder()
    from mtm.v1 import inference_service_pb2 as v1
    from mtm.v1 import inference_service_pb2_grpc as inference_grpc
    model = server_process.TINY_MODEL
    ca = certificates.Authority(folder, "ca")
    other_ca = certificates.Authority(folder, "other_ca")
    good = ca.issue("good")


def trusting(authority, client=None):
    """Credentials of a client that trusts an authority and shows a certificate."""
    return grpc.ssl_channel_credentials(
        authority.certificate.read_bytes(), client.key.read_bytes() if client else None,
        client.certificate.read_bytes() if client else None)


def certificate_on(port):
    """What is presented to a new connection."""
    context = ssl.create_default_context(cafile=str(ca.certificate))
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            return dict(field for name in secure.getpeercert()["subject"] for field in name)["commonName"]


class TlsTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(server_process.Scratch())

    def serve(self, *flags, **options):
        return self.enterContext(server_process.Server(self.folder, model, *flags, **options))

    def get_model(self, server, credentials):
        # A pool of its own: a channel with the same target would use the connection of the one before.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(server.address, credentials, options) if credentials else grpc.insecure_channel(
            server.address, options)
        with channel:
            return inference_grpc.InferenceServiceStub(channel).GetModel(v1.GetModelRequest(), timeout=30)

    def assert_refused(self, server, credentials):
        with self.assertRaises(grpc.RpcError) as raised:
            self.get_model(server, credentials)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE, raised.exception.details())

    def assert_does_not_start(self, *flags, listen="127.0.0.1:0", status=1):
        """What it says."""
        result = subprocess.run(server_process.Server(self.folder, model, *flags, listen=listen).command, text=True,
                                capture_output=True, timeout=server_process.SECONDS_TO_START)
        self.assertEqual(result.returncode, status, result.stderr)
        return result.stderr

    def test_a_client_that_trusts_the_ca_gets_in(self):
        server = self.serve(*good.flags())
        self.assertEqual(self.get_model(server, trusting(ca)).name, "tiny")

    def test_an_asyncio_client_gets_in(self):
        server = self.serve(*good.flags())

        async def get_model():
            async with grpc.aio.secure_channel(server.address, trusting(ca)) as channel:
                return await inference_grpc.InferenceServiceStub(channel).GetModel(v1.GetModelRequest())
        self.assertEqual(asyncio.run(get_model()).name, "tiny")

    def test_clients_that_should_not_are_not_served(self):
        server = self.serve(*good.flags())
        self.assert_refused(server, trusting(other_ca))
        self.assert_refused(server, None)  # without TLS
        self.get_model(server, trusting(ca))

    def test_a_server_without_tls_is_not_trusted(self):
        self.assert_refused(self.serve(), trusting(ca))

    def test_a_certificate_of_another_host_is_not_trusted(self):
        self.assert_refused(self.serve(*ca.issue("elsewhere", "DNS:example.com").flags()), trusting(ca))

    def test_an_expired_certificate_is_not_trusted_and_logged(self):
        server = self.serve(*ca.issue("expired", days=-1).flags())
        self.assert_refused(server, trusting(ca))
        self.assertRegex(server.log(), r"level=error event=tls_loaded .* error=expired")

    def test_tls_before_1_2_is_refused(self):
        server = self.serve(*good.flags())
        for version, is_fine in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True),
                                 (ssl.TLSVersion.TLSv1_3, True)):
            context = ssl.create_default_context(cafile=str(ca.certificate))
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = version
            context.set_alpn_protocols(["h2"])
            with socket.create_connection(("127.0.0.1", server.port)) as plain:
                try:
                    with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                        self.assertEqual((is_fine, secure.selected_alpn_protocol()), (True, "h2"), version)
                except (ssl.SSLError, ConnectionError) as error:
                    self.assertFalse(is_fine, f"{version}: {error}")

    def test_a_client_ca_makes_certificates_required(self):
        server = self.serve(*good.flags(), "--tls-client-ca", str(ca.certificate))
        self.assertEqual(self.get_model(server, trusting(ca, ca.issue("client"))).name, "tiny")
        self.assert_refused(server, trusting(ca))
        self.assert_refused(server, trusting(ca, other_ca.issue("stranger")))
        self.assert_refused(server, trusting(ca, ca.issue("late", days=-1)))
        self.get_model(server, trusting(ca, ca.issue("another")))

    def test_a_new_certificate_is_used_from_the_next_connection_on(self):
        pair = certificates.Pair(self.folder, "server")
        pair.copy_from(good)
        server = self.serve(*pair.flags(), credentials=trusting(ca))
        before = inference_grpc.InferenceServiceStub(server.channel)
        before.GetModel(v1.GetModelRequest())
        self.assertEqual(certificate_on(server.port), "good")
        pair.copy_from(ca.issue("renewed"))
        self.assertEqual(certificate_on(server.port), "renewed")
        before.GetModel(v1.GetModelRequest())  # over the connection that is there

    def test_files_that_are_no_good_leave_the_certificate_before(self):
        pair = certificates.Pair(self.folder, "server")
        pair.copy_from(good)
        server = self.serve(*pair.flags())
        renewed = ca.issue("renewed")
        half = renewed.certificate.read_bytes()[:300]
        for content in (half, b"", renewed.certificate.read_bytes()):  # the last one: of another key
            pair.certificate.write_bytes(content)
            self.assertEqual(certificate_on(server.port), "good")
        pair.certificate.unlink()
        self.assertEqual(certificate_on(server.port), "good")
        faults = [line for line in server.log().splitlines() if "level=error event=tls_not_reloaded" in line]
        self.assertEqual(len(faults), 4, server.log())
        self.assertTrue(all(str(pair.certificate) in line for line in faults), faults)
        pair.copy_from(renewed)
        self.assertEqual(certificate_on(server.port), "renewed")

    def test_a_new_client_ca_is_used(self):
        client_ca = self.folder / "client_ca.crt"
        client_ca.write_bytes(ca.certificate.read_bytes())
        server = self.serve(*good.flags(), "--tls-client-ca", str(client_ca))
        stranger = trusting(ca, other_ca.issue("stranger"))
        self.assert_refused(server, stranger)
        client_ca.write_bytes(other_ca.certificate.read_bytes())
        self.get_model(server, stranger)
        self.assert_refused(server, trusting(ca, ca.issue("client")))

    def test_faults_at_start_are_errors_that_name_the_file(self):
        other = ca.issue("other")
        missing, broken = self.folder / "missing", self.folder / "broken"
        broken.write_text("-----BEGIN CERTIFICATE-----\n")
        certificate, key = str(good.certificate), str(good.key)
        for flags, file, words in (
                (["--tls-cert", str(missing), "--tls-key", key], missing, "No such file"),
                (["--tls-cert", certificate, "--tls-key", str(missing)], missing, "No such file"),
                ([*good.flags(), "--tls-client-ca", str(missing)], missing, "No such file"),
                (["--tls-cert", str(self.folder), "--tls-key", key], self.folder, "not a regular file"),
                (["--tls-cert", str(broken), "--tls-key", key], broken, "PEM"),
                (["--tls-cert", certificate, "--tls-key", str(broken)], broken, "PEM"),
                ([*good.flags(), "--tls-client-ca", str(broken)], broken, "PEM"),
                (["--tls-cert", certificate, "--tls-key", str(other.key)], other.key, "not the key of")):
            error = self.assert_does_not_start(*flags)
            self.assertRegex(error.splitlines()[-1], "^mtm_server: ")
            self.assertIn(str(file), error.splitlines()[-1])
            self.assertIn(words, error.splitlines()[-1])

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_key_that_may_not_be_read_is_named(self):
        key = self.folder / "secret.key"
        key.write_bytes(good.key.read_bytes())
        key.chmod(0)
        self.assertIn(str(key), self.assert_does_not_start("--tls-cert", str(good.certificate), "--tls-key", str(key)))

    def test_half_of_the_flags_is_a_usage_error(self):
        for flags in (["--tls-cert", str(good.certificate)], ["--tls-key", str(good.key)],
                      ["--tls-client-ca", str(ca.certificate)]):
            self.assert_does_not_start(*flags, status=2)

    def test_without_tls_only_the_loopback_is_listened_on(self):
        for address in ("0.0.0.0:0", "[::]:0"):
            error = self.assert_does_not_start(listen=address)
            self.assertIn(f"{address}: ", error)
            self.assertIn("--insecure-listen", error)
        self.serve("--insecure-listen", listen="0.0.0.0:0")

    def test_with_tls_any_address_is_listened_on(self):
        self.get_model(self.serve(*good.flags(), listen="0.0.0.0:0"), trusting(ca))


if __name__ == "__main__":
    unittest.main(verbosity=2)
