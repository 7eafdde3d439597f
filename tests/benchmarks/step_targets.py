# SPDX-License-Identifier: Apache-2.0
"""What a memory costs, and exact mode against computing all anew, against targets: whole generations in the engine;
single steps of step_benchmark, and of memory_benchmark for a memory of a million tokens."""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import report

FILTER = "ReadMemory|BatchedStep/sequences:(1|16)/|DecodeStep/exact/.*type:[23]|Prefill/.*type:[23]"
TYPES = {0: "plain", 2: "Type 2, layer 10", 3: "Type 3, layers 7 to 9"}
MEMORY_TARGETS, EXACT_TARGETS = {2: 0.95, 3: 0.85}, {2: 4, 3: 2}
BATCHES, CONTEXTS = (1, 16), (128, 512)
MILLION = 1_000_000
MILLION_FILTER, MILLION_TARGET = f"(Create|Step/type:[0-9])/tokens:{MILLION}($|/)", 0.7


def run_benchmark(program, threads, *arguments):
    """[(name, arguments, benchmark)]"""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "steps.json"
        subprocess.run([program, f"--benchmark_out={out}", *arguments], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        with open(out) as file:
            return report.read(file)


def print_against_plain(what, unit, shown, against_plain):
    """`shown` and `against_plain`: functions of batch and type."""
    print(f"\n| {what} | batch | {unit} | speed against plain |\n| --- | --- | --- | --- |")
    for kind, name in TYPES.items():
        for batch in BATCHES:
            print(f"| {name} | {batch} | {shown(batch, kind)} | {against_plain(batch, kind):.2f} |")


class Generations:
    """Tokens a second of `mtm`, a contender of compare.py, by batch and type: what is looked up is kept, so that the steps
    right behind a prompt, which Steps has, take more than those that follow."""

    def __init__(self, mtm, prompts_of, new, rounds):
        self.taken = {}
        for kind in TYPES:
            mtm.run(prompts_of(1), kind)
        for number in range(rounds):
            print(f"\rmemories, round {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
            for batch in BATCHES:
                for kind in TYPES:
                    self.taken.setdefault((batch, kind), []).append(mtm.run(prompts_of(batch), kind)[0])
        print(file=sys.stderr)
        self.speed = {key: key[0] * new / statistics.median(times) for key, times in self.taken.items()}

    def against_plain(self, batch, kind):
        return self.speed[batch, kind] / self.speed[batch, 0]

    def table(self):
        print_against_plain("generations, memory of 1,000 tokens", "tokens/s",
                            lambda batch, kind: f"{self.speed[batch, kind]:.0f}", self.against_plain)

    def targets(self):
        """(name, value, at least)"""
        for kind, least in MEMORY_TARGETS.items():
            for batch in BATCHES:
                yield f"{TYPES[kind]}, batch {batch}, against plain", self.against_plain(batch, kind), least

    def json(self):
        return [{"batch": batch, "type": kind, "seconds": times} for (batch, kind), times in self.taken.items()]


class Million:
    """Steps with a memory of a million tokens, which takes minutes and 10 GB in TMPDIR to make."""

    def __init__(self, build, threads):
        self.taken = {}
        for name, arguments, benchmark in run_benchmark(
                build / "benchmarks" / "memory_benchmark", threads, f"--benchmark_filter={MILLION_FILTER}",
                "--benchmark_min_time=4"):
            if name != "Create":
                self.taken[BATCHES[-1] if name == "BatchedStep" else BATCHES[0], arguments["type"]] = benchmark["seconds"]

    def against_plain(self, batch, kind):
        return self.taken[batch, 0] / self.taken[batch, kind]

    def table(self):
        print_against_plain(f"steps right behind a prompt of 128, memory of {MILLION:,} tokens", "step, ms",
                            lambda batch, kind: f"{1e3 * self.taken[batch, kind]:.1f}", self.against_plain)

    def targets(self):
        for kind in MEMORY_TARGETS:
            for batch in BATCHES:
                yield (f"{TYPES[kind]}, {MILLION:,} tokens, batch {batch}, against plain",
                       self.against_plain(batch, kind), MILLION_TARGET)

    def json(self):
        return [{"batch": batch, "type": kind, "seconds": seconds} for (batch, kind), seconds in self.taken.items()]


class Steps:
    """Medians of `repetitions` in random order."""

    def __init__(self, build, repetitions, threads):
        self.taken, self.rows, self.bytes_per_second = {}, {}, []
        self._read(run_benchmark(
            build / "benchmarks" / "step_benchmark", threads, f"--benchmark_filter={FILTER}",
            f"--benchmark_repetitions={repetitions}", "--benchmark_enable_random_interleaving=true",
            "--benchmark_display_aggregates_only=true"))

    def _read(self, benchmarks):
        for name, arguments, benchmark in benchmarks:
            if name == "ReadMemory":
                self.bytes_per_second.append(benchmark["bytes_per_second"])
                continue
            key = (name, *[arguments[key] for key in sorted(arguments) if key not in ("type", "repeats")],
                   arguments["type"])
            self.taken.setdefault(key, []).append(benchmark["seconds"])
            self.rows[key] = benchmark.get("rows")

    def seconds(self, name, size, kind):
        return statistics.median(self.taken[name, size, kind])

    def bandwidth(self):
        return statistics.median(self.bytes_per_second)

    def against_plain(self, batch, kind):
        return self.seconds("BatchedStep", batch, 0) / self.seconds("BatchedStep", batch, kind)

    def against_anew(self, context, kind):
        return self.seconds("Prefill", context, kind) / self.seconds("DecodeStep/exact", context, kind)

    def table(self):
        print_against_plain("steps right behind a prompt of 128, memory of 1,000 tokens", "step, ms",
                            lambda batch, kind: f"{1e3 * self.seconds('BatchedStep', batch, kind):.1f}",
                            self.against_plain)
        print("\n| exact mode | context | step, ms | all anew, ms | ratio | rows run a layer |\n"
              "| --- | --- | --- | --- | --- | --- |")
        for kind in EXACT_TARGETS:
            for context in CONTEXTS:
                rows = self.rows["DecodeStep/exact", context, kind]
                print(f"| {TYPES[kind]} | {context} | {1e3 * self.seconds('DecodeStep/exact', context, kind):.1f} | "
                      f"{1e3 * self.seconds('Prefill', context, kind):.0f} | {self.against_anew(context, kind):.1f} | "
                      f"{rows:.0f} ({100 * rows / context:.0f} %) |")

    def targets(self):
        """(name, value, at least)"""
        for kind, least in EXACT_TARGETS.items():
            for context in CONTEXTS:
                yield (f"exact mode, {TYPES[kind]}, context {context}, against all anew",
                       self.against_anew(context, kind), least)

    def json(self):
        return {"bytes_per_second": self.bandwidth(),
                "steps": [{"name": key[0], "size": key[1], "type": key[2], "seconds": seconds,
                           "rows": self.rows[key]} for key, seconds in self.taken.items()]}
