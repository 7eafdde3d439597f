# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes: what the manifests name is there, and the server takes the configuration that they give it."""
import os
import pathlib
import subprocess
import tempfile
import tomllib
import unittest

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy/kubernetes"
SERVER = os.environ["MTM_SERVER"]
SECRETS = {"mtm-tls", "mtm-access"}  # made by the administrator
DOCUMENTS = [document for file in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text())]
BY_NAME = {(document["kind"], document["metadata"]["name"]): document for document in DOCUMENTS}
WORKLOADS = {"writer": BY_NAME["StatefulSet", "mtm-writer"], "serving": BY_NAME["Deployment", "mtm-serving"]}


def pod(workload):
    return workload["spec"]["template"]["spec"]


def container(workload):
    return pod(workload)["containers"][0]


def configuration(workload):
    file = container(workload)["args"][-1]
    return BY_NAME["ConfigMap", "mtm"]["data"][file.rpartition("/")[2]]


def selects(selector, workload):
    return selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()


class KubernetesTest(unittest.TestCase):
    def test_every_document_has_a_name_of_its_own(self):
        self.assertEqual(len(BY_NAME), len(DOCUMENTS))

    def test_volumes_are_of_things_that_are_there(self):
        for workload in WORKLOADS.values():
            mounted = {mount["name"] for mount in container(workload)["volumeMounts"]}
            self.assertEqual(mounted, {volume["name"] for volume in pod(workload)["volumes"]})
            for volume in pod(workload)["volumes"]:
                if "persistentVolumeClaim" in volume:
                    self.assertIn(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]), BY_NAME)
                elif "configMap" in volume:
                    self.assertIn(("ConfigMap", volume["configMap"]["name"]), BY_NAME)
                else:
                    self.assertIn(volume["secret"]["secretName"], SECRETS)

    def test_only_the_writer_may_write_to_the_memories(self):
        for component, workload in WORKLOADS.items():
            is_reader = component == "serving"
            mounts = {mount["name"]: mount for mount in container(workload)["volumeMounts"]}
            self.assertEqual(mounts["memories"].get("readOnly", False), is_reader)
            self.assertEqual(tomllib.loads(configuration(workload))["serve"].get("store-read-only", False), is_reader)
        self.assertEqual(WORKLOADS["writer"]["spec"]["replicas"], 1)

    def test_selectors_select_one_kind_of_pod(self):
        for document in DOCUMENTS:
            selector = document["spec"].get("selector") if "spec" in document else None
            if selector is None:
                continue
            component = document["metadata"]["labels"]["app.kubernetes.io/component"]
            labels = selector.get("matchLabels", selector)
            selected = [name for name, workload in WORKLOADS.items() if selects(labels, workload)]
            self.assertEqual(selected, [component], document["metadata"])

    def test_ports_are_those_that_the_server_listens_on(self):
        for component, workload in WORKLOADS.items():
            ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
            serve = tomllib.loads(configuration(workload))["serve"]
            self.assertEqual(serve["listen"], f"0.0.0.0:{ports['grpc']}")
            self.assertEqual(serve["metrics-listen"], f"0.0.0.0:{ports['metrics']}")
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertEqual(container(workload)[probe]["httpGet"]["port"], "metrics")
            annotations = workload["spec"]["template"]["metadata"]["annotations"]
            self.assertEqual(annotations["prometheus.io/port"], str(ports["metrics"]))
            for port in BY_NAME["Service", f"mtm-{component}"]["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports)

    def test_pods_are_given_the_time_to_drain(self):
        for workload in WORKLOADS.values():
            grace = tomllib.loads(configuration(workload))["serve"]["shutdown-grace-ms"] / 1000
            before = int(container(workload)["lifecycle"]["preStop"]["exec"]["command"][1])
            self.assertGreater(pod(workload)["terminationGracePeriodSeconds"], grace + before + 10)

    def test_the_autoscaler_looks_at_a_metric_that_the_adapter_makes(self):
        scaler = BY_NAME["HorizontalPodAutoscaler", "mtm-serving"]["spec"]
        target = scaler["scaleTargetRef"]
        self.assertIn((target["kind"], target["name"]), BY_NAME)
        rules = yaml.safe_load((FOLDER / "adapter/values.yaml").read_text())["rules"]["custom"]
        self.assertEqual([metric["pods"]["metric"]["name"] for metric in scaler["metrics"]],
                         [rule["name"]["as"] for rule in rules])

    def test_the_server_knows_the_flags_of_the_configurations(self):
        # The model is not there: so far it comes, past the flags.
        for workload in WORKLOADS.values():
            with tempfile.TemporaryDirectory() as folder:
                config = pathlib.Path(folder) / "mtm.toml"
                config.write_text(configuration(workload).replace('"/', f'"{folder}/'))
                result = subprocess.run([SERVER, "serve", "--config", str(config)], text=True, capture_output=True,
                                        timeout=60)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn(f"{folder}/models/gpt2", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
