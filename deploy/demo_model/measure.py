#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How often the held-out answers come next from the real server: the table of the README.

Starts mtm_server with the demo model and, for each passage of heldout.jsonl, asks its question (greedy) with the question
alone, with the passage in the prompt, and with a memory of the passage, under several settings. An answer counts when
the reply begins with it and a word ends there. Needs the build, protoc, grpc_python_plugin and python3-grpcio, as
deploy/setup.sh --tests installs them.

  deploy/demo_model/measure.py
  deploy/demo_model/measure.py --limit 50 --json
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BASE = dict(method=2, k=8, memory_fraction=5.0, bookkeeping_fraction=0.9, score_scale=1.0, residual_fraction=0.1)


def make_stubs(folder):
    plugin = subprocess.run(["which", "grpc_python_plugin"], capture_output=True, text=True, check=True).stdout.strip()
    files = [str(f.relative_to(ROOT / "proto")) for f in (ROOT / "proto").rglob("*.proto")]
    subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_out={folder}",
                    f"--plugin=protoc-gen-grpc={plugin}", *files], check=True)
    sys.path.insert(0, folder)


def start_server(args, folder):
    port_file = Path(folder) / "port"
    server = subprocess.Popen([args.server, "serve", "--model", args.model, "--store", f"{folder}/store",
                               "--listen", "127.0.0.1:0", "--port-file", port_file, "--log-level", "warning",
                               "--weights", args.weights, "--cache", args.cache,
                               "--threads", "1"])  # so small a model gains nothing by more
    while not port_file.exists():
        if server.poll() is not None:
            sys.exit("measure.py: the server did not start")
        time.sleep(0.05)
    return server, grpc.insecure_channel(f"127.0.0.1:{port_file.read_text().strip()}")


class Asker:
    def __init__(self, channel):
        from mtm.v1 import inference_service_pb2, inference_service_pb2_grpc
        from mtm.v1 import memory_service_pb2, memory_service_pb2_grpc
        self.pb, self.memory_pb = inference_service_pb2, memory_service_pb2
        self.inference = inference_service_pb2_grpc.InferenceServiceStub(channel)
        self.memories = memory_service_pb2_grpc.MemoryServiceStub(channel)

    def remember(self, name, text):
        request = self.memory_pb.CreateMemoryRequest
        parts = [request(spec=request.Spec(name=name)), request(text=text.encode())]
        for _ in self.memories.CreateMemory(iter(parts)):
            pass

    def ask(self, prompt, answer, uses=(), mode="cached"):
        """Whether the answer comes, and the share of tokens-heads that were changed."""
        parameters = self.pb.GenerationParameters(max_tokens=len(answer) + 1, mode=f"MODE_{mode.upper()}",
                                                  sampling=self.pb.SamplingParameters(temperature=0))
        reply = self.inference.Generate(self.pb.GenerateRequest(
            prompt=prompt, parameters=parameters, memory_uses=[self.pb.MemoryUse(**use) for use in uses]))
        said = reply.samples[0].text
        right = said.startswith(answer) and said[len(answer):len(answer) + 1] in ("", *". \n,;!?'")
        return right, reply.usage.tokens_heads_changed, reply.usage.tokens_heads_total


def settings(layers):
    """(title, changes) of the rows."""
    rows = [("Type 2", {}), ("Type 1", dict(method=1)), ("Type 3", dict(method=3)),
            ("Type 2, R 0.33", dict(residual_fraction=0.33))]
    rows += [(f"Type 2, k {k}", dict(k=k)) for k in (1, 3, 32, 1000)]
    rows += [(f"Type 2, TS {ts:g}", dict(score_scale=ts)) for ts in (0.01, 0.3, 10)]
    rows += [(f"Type 2, MF {mf:g}", dict(memory_fraction=mf)) for mf in (0, 1, 100, 1e9)]
    rows += [(f"Type 2, layer {layer} alone", dict(layers=[layer])) for layer in layers]
    rows += [("Type 2, exact mode", dict(mode="exact")), ("the paper's Table 1", dict(
        method=3, k=5, memory_fraction=5, score_scale=0.01, residual_fraction=0.33))]
    return rows


def measure(asker, cases, changes, layers):
    use, right, changed, total = {**BASE, "layers": layers, **changes}, 0, 0, 0
    mode = use.pop("mode", "cached")
    for i, case in enumerate(cases):
        ok, c, t = asker.ask(case["question"], case["answer"], [dict(use, memory=f"case/{i}")], mode)
        right, changed, total = right + ok, changed + c, total + t
    return right / len(cases), changed / total


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--server", default=str(ROOT / "build/server/mtm_server"))
    a.add_argument("--model", default=str(HERE / "model"))
    a.add_argument("--weights", default="fp32", help="as mtm_server takes it: fp32, fp16 or int8")
    a.add_argument("--cache", default="fp32", help="as mtm_server takes it: fp32 or fp16")
    a.add_argument("--cases", default=str(HERE / "heldout.jsonl"))
    a.add_argument("--layers", default="", help="where the memory is active, as 3,4 (default: the model's default)")
    a.add_argument("--limit", type=int, help="only the first so many cases")
    a.add_argument("--json", action="store_true", help="print JSON")
    args = a.parse_args()
    cases = [json.loads(line) for line in open(args.cases)][: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        make_stubs(folder)
        server, channel = start_server(args, folder)
        try:
            asker = Asker(channel)
            layers = [int(x) for x in args.layers.split(",") if x]
            layers = layers or list(asker.inference.GetModel(asker.pb.GetModelRequest()).default_layers)
            report(asker, cases, layers, args.json)
        finally:
            server.terminate()
            server.wait()


def report(asker, cases, layers, as_json):
    for i, case in enumerate(cases):
        asker.remember(f"case/{i}", case["text"])
        print(f"\rmemories {i + 1}/{len(cases)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    share = lambda prompt: sum(asker.ask(prompt(c), c["answer"])[0] for c in cases) / len(cases)
    out = dict(cases=len(cases), layers=layers, alone=share(lambda c: c["question"]),
               in_prompt=share(lambda c: c["text"] + "\n" + c["question"]), memory={})
    if not as_json:
        print(f"{len(cases)} passages; memory in layers {', '.join(map(str, layers))}\n")
        print("| | the answer comes next | tokens-heads changed |\n| --- | --- | --- |")
        print(f"| question alone | {out['alone']:.1%} | |\n| text in the prompt | {out['in_prompt']:.1%} | |", flush=True)
    for title, changes in settings(layers):
        right, changed = measure(asker, cases, changes, layers)
        out["memory"][title] = dict(right=right, changed=changed)
        if not as_json:
            print(f"| text in a memory: {title} | {right:.1%} | {changed:.0%} |", flush=True)
    if as_json:
        json.dump(out, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
