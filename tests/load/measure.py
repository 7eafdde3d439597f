#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput, latencies and overload of a GPT-2 124M shape with random weights: starts the server, puts load on it
with load_generator, and prints a table. Needs a quiet machine.

    tests/load/measure.py [--build build] [--seconds 30] [--output FOLDER]

FOLDER gets the reports and, with Debian's python3-matplotlib, closed.svg and open.svg. Exit status 1 where a target
is missed: 16 clients at least 4 times the tokens a second of one, with memories 3 times; at 3 times the load that the
server can carry, what is accepted waits and goes on as it does at the load that it can, and the rest is refused at
once."""

import argparse
import importlib.util
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
CLIENTS = (1, 4, 16, 32)
MEMORY_TOKENS = 1000
PLAIN = {"prompt_tokens": 32, "max_tokens": 64}
# Random weights attend almost evenly, so that MF would select everything: a tenth of the tokens-heads instead.
WITH_MEMORY = {**PLAIN, "memories": ["text:layers=7-9,heads=0.1"]}
# The line is short, and so is the wait in it, so that who is accepted is served soon.
LIMITS = ["--max-sequences", "32", "--max-waiting", "2", "--max-wait-ms", "200"]
PLAIN_GAIN, MEMORY_GAIN, OVERLOAD = 4, 3, 3
# At overload against 32 clients: a request may wait behind the two of the line. A refusal takes no step.
MOST_SLOWER, MOST_REFUSAL_SECONDS = 2, 0.25


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=SOURCE / "build", type=pathlib.Path)
    parser.add_argument("--shape", default="gpt2", help="as make_model takes it")
    parser.add_argument("--seconds", default=30, type=float, help="of each measurement")
    parser.add_argument("--threads", default=0, type=int, help="of the server; 0: one a core")
    parser.add_argument("--output", type=pathlib.Path)
    return parser.parse_args()


class Measurement:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.output = options.output or folder
        self.output.mkdir(parents=True, exist_ok=True)
        self.address = None

    def serve(self, server_process):
        model = self.folder / "model"
        subprocess.run([self.options.build / "tests/make_model", self.options.shape, model], check=True)
        server = server_process.Server(self.folder, model, *LIMITS, "--log-level", "warning")
        threads = server.command.index("--threads") + 1
        server.command[threads] = str(self.options.threads)
        return server

    def remember(self, channel):
        from mtm.v1 import memory_service_pb2 as pb
        from mtm.v1 import memory_service_pb2_grpc as rpc
        numbers = random.Random(1)
        text = pb.CreateMemoryRequest()
        text.token_ids.ids.extend(numbers.randrange(50000) for _ in range(MEMORY_TOKENS))
        spec = pb.CreateMemoryRequest(spec=pb.CreateMemoryRequest.Spec(name="text"))
        list(rpc.MemoryServiceStub(channel).CreateMemory(iter([spec, text])))

    def run(self, label, request, *load, warm_up=2):
        """The report of one load, measured after `warm_up` seconds of it; a row of the table."""
        file = self.output / f"{label.replace(' ', '_')}_{load[-1]}.json"
        subprocess.run([self.options.build / "tests/load_generator", "--server", self.address, "--request",
                        json.dumps(request), "--label", label, "--seconds", str(self.options.seconds), "--warm-up",
                        str(warm_up), "--json", file, *load], check=True, stdout=subprocess.DEVNULL)
        report = json.loads(file.read_text())["all"]
        report["file"] = file
        print(row(label, load, report), flush=True)
        return report

    def plot(self, reports, name):
        if importlib.util.find_spec("matplotlib") is None:
            return print("\n(no plot: Debian's python3-matplotlib is not there)")
        subprocess.run([sys.executable, SOURCE / "tests/load/plot.py", *[report["file"] for report in reports], "-o",
                        self.output / name], check=True)
        print(f"\n{self.output / name}")


def times(report, name):
    values = report[name]
    return f"{1000 * values['p50']:.0f} / {1000 * values['p99']:.0f}" if values["count"] else "-"


def row(label, load, report):
    codes = report["codes"]
    refused = codes.get("RESOURCE_EXHAUSTED", 0) / max(report["requests"], 1)
    cells = [label, f"{load[-1]} {load[0].removeprefix('--')}", f"{report['tokens_per_second']:.1f}",
             times(report, "time_to_first_token_seconds"), times(report, "time_between_tokens_seconds"),
             f"{100 * refused:.0f} %", times(report, "refusal_seconds")]
    return f"| {' | '.join(cells)} |"


def judge(text, value, limit, is_least):
    is_met = value >= limit if is_least else value <= limit
    print(f"{text}: {value:.2f} ({'at least' if is_least else 'at most'} {limit}{'' if is_met else ': MISSED'})")
    return is_met


def overload(measurement, plain):
    """More than can be carried, against the most that can."""
    most = plain[-1]
    rate = OVERLOAD * most["tokens_per_second"] / PLAIN["max_tokens"]
    # The first to come all begin at once, and who waits then waits until they end, together.
    report = measurement.run("overload", PLAIN, "--rate", f"{rate:.2f}", warm_up=20)
    others = {code for code in report["codes"] if code not in ("OK", "RESOURCE_EXHAUSTED")}
    slower = [report[name].get("p99", math.inf) / most[name].get("p99", math.nan)  # nothing measured: missed
              for name in ("time_to_first_token_seconds", "time_between_tokens_seconds")]
    return report, [
        lambda: judge("overload, tokens a second against the most", report["tokens_per_second"] /
                      most["tokens_per_second"], 0.8, True),
        lambda: judge("overload, p99 to the first token against the most load", slower[0], MOST_SLOWER, False),
        lambda: judge("overload, p99 between tokens against the most load", slower[1], MOST_SLOWER, False),
        lambda: judge("overload, p99 of refusals, seconds", report["refusal_seconds"].get("p99", math.inf),
                      MOST_REFUSAL_SECONDS, False),
        lambda: judge("overload, kinds of other errors", len(others), 0, False)]


def measure(measurement):
    print("\n| load | | tokens/s | first token, ms p50 / p99 | between tokens, ms p50 / p99 | refused | refusal, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    plain = [measurement.run("plain", PLAIN, "--clients", str(n)) for n in CLIENTS]
    with_memory = [measurement.run("with memory", WITH_MEMORY, "--clients", str(n)) for n in CLIENTS]
    report, verdicts = overload(measurement, plain)
    print()

    def gain(reports):
        return reports[CLIENTS.index(16)]["tokens_per_second"] / reports[0]["tokens_per_second"]
    verdicts = [lambda: judge("16 plain against 1, tokens a second", gain(plain), PLAIN_GAIN, True),
                lambda: judge("16 with memories against 1", gain(with_memory), MEMORY_GAIN, True), *verdicts]
    met = [verdict() for verdict in verdicts]
    measurement.plot([*plain, *with_memory], "closed.svg")
    measurement.plot([report], "open.svg")
    return 0 if all(met) else 1


def main():
    options = parse_arguments()
    os.environ.setdefault("MTM_SERVER", str(options.build / "server/mtm_server"))
    os.environ.setdefault("MTM_SOURCE", str(SOURCE))
    os.environ.setdefault("MTM_PROTOC", "protoc")
    os.environ.setdefault("MTM_GRPC_PYTHON_PLUGIN", "/usr/bin/grpc_python_plugin")
    sys.path.insert(0, str(SOURCE / "tests/rpc"))
    import server_process
    with tempfile.TemporaryDirectory(prefix="mtm_load_") as folder:
        folder = pathlib.Path(folder)
        (folder / "stubs").mkdir()
        server_process.make_stubs(folder / "stubs")
        measurement = Measurement(options, folder)
        with measurement.serve(server_process) as server:
            measurement.address = server.address
            measurement.remember(server.channel)
            return measure(measurement)


if __name__ == "__main__":
    sys.exit(main())
