# SPDX-License-Identifier: Apache-2.0
"""Certificates by the openssl command."""
import os
import pathlib
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Pair:
    """A certificate and its key, PEM files."""

    def __init__(self, folder, name):
        self.certificate = pathlib.Path(folder) / f"{name}.crt"
        self.key = pathlib.Path(folder) / f"{name}.key"

    def flags(self):
        return ["--tls-cert", str(self.certificate), "--tls-key", str(self.key)]

    def copy_from(self, other):
        """Each file is replaced in one step, one after the other, as an operator should do it."""
        for mine, its in ((self.certificate, other.certificate), (self.key, other.key)):
            new = mine.with_suffix(".new")
            new.write_bytes(its.read_bytes())
            os.replace(new, mine)


class Authority(Pair):
    def __init__(self, folder, name):
        super().__init__(folder, name)
        self.folder = pathlib.Path(folder)
        openssl("req", "-x509", *KEY, "-days", 1, "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate)

    def issue(self, name, hosts="DNS:localhost,IP:127.0.0.1", days=1):
        """`days` below 0: expired."""
        pair = Pair(self.folder, name)
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}\n")
        openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", pair.key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", pair.certificate)
        return pair
