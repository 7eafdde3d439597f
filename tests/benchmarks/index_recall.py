#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an approximate index finds of the nearest keys of the demo model: makes a memory of made-up passages, asks
held-out questions of a server with the index and of one on the same store that searches exactly, and compares the
neighbours in their traces. Also times a request with it against one with a memory of 1,000 tokens.

    tests/benchmarks/index_recall.py [--build build] [--tokens 1000000] [--questions 40] [--json]"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo_model"))
import grpc  # noqa: E402
import measure  # noqa: E402
import passages  # noqa: E402

MODEL = ROOT / "deploy" / "demo_model" / "model"
STEPS = 50


def serve(build, folder, store, *flags):
    port_file = pathlib.Path(folder) / f"port{len(list(pathlib.Path(folder).glob('port*')))}"
    process = subprocess.Popen([build / "server" / "mtm_server", "serve", "--model", MODEL, "--store", store,
                                "--listen", "127.0.0.1:0", "--port-file", port_file, "--log-level", "warning", *flags])
    while not port_file.exists():
        if process.poll() is not None:
            sys.exit("index_recall.py: the server did not start")
        time.sleep(0.05)
    return process, measure.Asker(grpc.insecure_channel(f"127.0.0.1:{port_file.read_text()}",
                                                        [("grpc.max_receive_message_length", 1 << 28)]))


def text_of(tokens):
    """About as many tokens: a passage has some 80."""
    maker = passages.PassageMaker(7)
    parts, size = [], 0
    while size < 3.9 * tokens:
        parts.append(maker.passage(6).text())
        size += len(parts[-1])
    return "\n".join(parts)


def create(asker, name, text):
    request = asker.memory_pb.CreateMemoryRequest
    chunks = [text[i:i + (1 << 20)] for i in range(0, len(text), 1 << 20)]
    parts = [request(spec=request.Spec(name=name))] + [request(text=chunk.encode()) for chunk in chunks]
    for reply in asker.memories.CreateMemory(iter(parts)):
        if reply.WhichOneof("event") == "progress":
            done = reply.progress
            print(f"\r{name}: {done.tokens_done:,} of {done.tokens_total:,} tokens ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def neighbours(asker, prompt, layer, k):
    """{(head, position): positions in the memory}"""
    pb = asker.pb
    reply = asker.inference.Generate(pb.GenerateRequest(
        prompt=prompt, memory_uses=[pb.MemoryUse(memory="large", layers=[layer], k=k, head_fraction=0.1)],
        parameters=pb.GenerationParameters(max_tokens=1, trace=pb.TraceOptions(max_entries=10_000))))
    return {(entry.head, entry.position): {n.memory_position for n in entry.neighbours}
            for entry in reply.samples[0].trace}


def recall(approximate, exact, questions, layers, k):
    found = wanted = searches = 0
    for question in questions:
        for layer in layers:
            nearest = neighbours(exact, question, layer, k)
            proposed = neighbours(approximate, question, layer, k)
            assert nearest.keys() == proposed.keys()
            for at, positions in nearest.items():
                found, wanted = found + len(positions & proposed[at]), wanted + len(positions)
                searches += 1
    return found / wanted, searches


def step_ms(asker, prompt, memory):
    """Of a token, by a request of many."""
    pb = asker.pb
    uses = [pb.MemoryUse(memory=memory, head_fraction=0.1)] if memory else []
    times = []
    for _ in range(5):
        timings = asker.inference.Generate(pb.GenerateRequest(prompt=prompt, memory_uses=uses, parameters=pb.GenerationParameters(
            max_tokens=STEPS, ignore_end_of_text=True))).timings
        times.append(timings.generation.ToTimedelta().total_seconds() * 1000 / (STEPS - 1))
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--tokens", default=1_000_000, type=int)
    parser.add_argument("--questions", default=40, type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [json.loads(line) for line in open(ROOT / "deploy/demo_model/heldout.jsonl")][:options.questions]
    questions = [case["question"] for case in cases]
    with tempfile.TemporaryDirectory() as folder:
        measure.make_stubs(folder)
        store = pathlib.Path(folder) / "store"
        writer, approximate = serve(options.build, folder, store)
        create(approximate, "small", text_of(1000))
        create(approximate, "large", text_of(options.tokens))
        reader, exact = serve(options.build, folder, store, "--store-read-only", "--index-min-tokens", "1000000000")
        try:
            memory = approximate.memories.GetMemory(approximate.memory_pb.GetMemoryRequest(name="large"))
            layers = list(approximate.inference.GetModel(approximate.pb.GetModelRequest()).default_layers)
            out = {"tokens": memory.token_count, "index_recall_at_10": memory.index.recall_at_10}
            for k in (5, 10):
                out[f"recall_at_{k}"], out["searches"] = recall(approximate, exact, questions, layers, k)
            for name in ("", "small", "large"):
                out[f"step_ms_{name or 'plain'}"] = step_ms(approximate, questions[0], name)
        finally:
            for process in (reader, writer):
                process.terminate()
                process.wait()
    if options.json:
        json.dump(out, sys.stdout, indent=1)
    else:
        for name, value in out.items():
            print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value:,}")


if __name__ == "__main__":
    main()
