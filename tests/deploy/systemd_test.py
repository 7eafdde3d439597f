# SPDX-License-Identifier: Apache-2.0
"""deploy/systemd: the unit, as systemd itself reads it, and the configuration that comes with it."""
import os
import pathlib
import re
import subprocess
import tempfile
import tomllib
import unittest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy/systemd"
SERVER = os.environ["MTM_SERVER"]
# Of 100, 0 being a service that can do nothing. What is left of it: it serves a network.
MOST_EXPOSURE = 20


class SystemdTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.unit = (FOLDER / "mtm.service").read_text()

    def analyze(self, *words, unit=None):
        """The unit, whose program is the one that was built: systemd looks whether it is there."""
        file = self.folder / "mtm.service"
        file.write_text((unit or self.unit).replace("/usr/bin/mtm_server", SERVER))
        return subprocess.run(["systemd-analyze", *words, str(file)], text=True, capture_output=True, timeout=60)

    def test_systemd_has_nothing_to_say_about_the_unit(self):
        result = self.analyze("verify", "--man=no")
        self.assertEqual((result.returncode, result.stdout + result.stderr), (0, ""))
        wrong = self.analyze("verify", "--man=no", unit=self.unit.replace("ProtectHome=", "ProtectHomes="))
        self.assertIn("ProtectHomes", wrong.stderr)

    def test_the_service_is_confined(self):
        result = self.analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_it_is_stopped_no_sooner_than_the_grace_ends(self):
        stop_seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", self.unit, re.MULTILINE)[1])
        serve = tomllib.loads((FOLDER / "mtm.toml").read_text())["serve"]
        self.assertGreater(1000 * stop_seconds, serve["shutdown-grace-ms"] + 10_000)

    def test_the_server_knows_the_flags_of_the_configuration(self):
        # The model is not there: so far it comes, past the flags.
        config = self.folder / "mtm.toml"
        config.write_text((FOLDER / "mtm.toml").read_text().replace("/var/lib/mtm", str(self.folder)))
        result = subprocess.run([SERVER, "serve", "--config", str(config)], text=True, capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(str(self.folder / "models/gpt2"), result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
