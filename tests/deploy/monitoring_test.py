# SPDX-License-Identifier: Apache-2.0
"""deploy/monitoring, as Prometheus itself reads it. That the metrics are there, tests/rpc/operations_test.py looks."""
import json
import pathlib
import subprocess
import tempfile
import unittest

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy/monitoring"
# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$job": "mtm", "$instance": ".+"}


def promtool(*words):
    result = subprocess.run(["promtool", *map(str, words)], text=True, capture_output=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


def expressions(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


class MonitoringTest(unittest.TestCase):
    def test_prometheus_takes_the_configuration_and_the_rules(self):
        status, text = promtool("check", "config", "--lint=all", "--lint-fatal", FOLDER / "prometheus.yml")
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"SUCCESS: [1-9]\d* rules found")

    def test_alerts_fire_when_they_should(self):
        status, text = promtool("test", "rules", pathlib.Path(__file__).with_name("alerts_test.yml"))
        self.assertEqual(status, 0, text)

    def test_prometheus_can_read_every_query_of_the_dashboard(self):
        dashboard = json.loads((FOLDER / "dashboard.json").read_text())
        rules = [{"record": "panel:query", "expr": expression, "labels": {"panel": title, "number": str(number)}}
                 for number, (title, expression) in enumerate(expressions(dashboard))]
        self.assertGreater(len(rules), 20)
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            status, text = promtool("check", "rules", file.name)
        self.assertEqual(status, 0, text)

    def test_no_two_panels_share_a_place(self):
        dashboard = json.loads((FOLDER / "dashboard.json").read_text())
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
