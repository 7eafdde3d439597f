# SPDX-License-Identifier: Apache-2.0
"""What a memory costs, and exact mode against computing all anew, against targets: whole generations in the engine, and
single steps of step_benchmark."""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import report

FILTER = "ReadMemory|BatchedStep/sequences:(1|16)/|DecodeStep/exact/.*type:[23]|Prefill/.*type:[23]"
TYPES = {0: "plain", 2: "Type 2, one layer", 3: "Type 3, layers 7 to 9"}
EXACT_TARGETS = {2: 4, 3: 2}
BATCHES, CONTEXTS = (1, 16), (128, 512)


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
    """Tokens a second of `mtm`, a contender of compare.py, by batch and type, with a memory of `memory_tokens`: what is
    looked up is kept, so that the steps right behind a prompt, which Steps has, take more than those that follow.
    `least` {type: share of plain's speed}"""

    def __init__(self, mtm, prompts_of, new, rounds, memory_tokens, least):
        self.taken, self.memory_tokens, self.least = {}, memory_tokens, least
        for kind in TYPES:
            mtm.run(prompts_of(1), kind, memory_tokens)
        for number in range(rounds):
            print(f"\rmemories of {memory_tokens:,} tokens, round {number + 1} of {rounds} ", end="", file=sys.stderr,
                  flush=True)
            for batch in BATCHES:
                for kind in TYPES:
                    seconds = mtm.run(prompts_of(batch), kind, memory_tokens)[0]
                    self.taken.setdefault((batch, kind), []).append(seconds)
        print(file=sys.stderr)
        self.speed = {key: key[0] * new / statistics.median(times) for key, times in self.taken.items()}

    def against_plain(self, batch, kind):
        return self.speed[batch, kind] / self.speed[batch, 0]

    def table(self):
        print_against_plain(f"generations, memory of {self.memory_tokens:,} tokens", "tokens/s",
                            lambda batch, kind: f"{self.speed[batch, kind]:.0f}", self.against_plain)

    def targets(self):
        """(name, value, at least)"""
        for kind, least in self.least.items():
            for batch in BATCHES:
                yield (f"{TYPES[kind]}, memory of {self.memory_tokens:,}, batch {batch}, against plain",
                       self.against_plain(batch, kind), least)

    def json(self):
        return [{"batch": batch, "type": kind, "memory_tokens": self.memory_tokens, "seconds": times}
                for (batch, kind), times in self.taken.items()]


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
