#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what step_benchmark and memory_benchmark measured of a decode step, against the length of the context, the
tokens of the memory and the sequences of the step, with the line that the machine sets; prints the figures.

    build/benchmarks/step_benchmark --benchmark_out=steps.json
    build/benchmarks/memory_benchmark --benchmark_out=memory.json
    tests/benchmarks/plot_steps.py steps.json memory.json -o tests/benchmarks/steps.svg  (needs Debian's
                                                                                          python3-matplotlib)"""

import argparse

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt  # noqa: E402

import report  # noqa: E402

TYPES = {0: "plain", 2: "Type 2", 3: "Type 3"}
COLORS = {"plain": "C0", "Type 2": "C1", "Type 3": "C2"}

# GPT-2 124M in float32.
LAYERS, WIDTH, VOCABULARY = 12, 768, 50257
PARAMETERS = LAYERS * 12 * WIDTH * WIDTH + VOCABULARY * WIDTH  # of the matrices that a step multiplies with
CACHE_BYTES = 2 * LAYERS * WIDTH * 4  # of a token
BATCH_CONTEXT = 128


def curve(benchmarks, name, argument, kind):
    """[(argument, ms)] of one type of memory."""
    return sorted((arguments[argument], 1e3 * benchmark["seconds"]) for found, arguments, benchmark in benchmarks
                  if found == name and arguments.get("type", 0) == kind and argument in arguments)


def only(benchmarks, name):
    return next(benchmark for found, _, benchmark in benchmarks if found == name)


def limit(steps, sequences, context):
    """Milliseconds that reading the weights and the caches takes, or else the multiplications."""
    bytes_read = 4 * PARAMETERS + sequences * context * CACHE_BYTES
    reading = bytes_read / only(steps, "ReadMemory")["bytes_per_second"]
    multiplying = sequences * PARAMETERS / only(steps, "LargeProduct")["items_per_second"]
    return 1e3 * max(reading, multiplying)


def curves(steps, memory):
    """(title, label of the x axis, {name: points}, limit) for each panel."""
    context = {name: curve(steps, "DecodeStep/cached", "context", kind) for kind, name in TYPES.items()}
    yield ("one sequence", "tokens of context", context, [(x, limit(steps, 1, x)) for x, _ in context["plain"]])
    size = {name: curve(memory, "Step", "tokens", kind) for kind, name in TYPES.items() if kind}
    yield ("one sequence, context 128", "tokens in the memory", size,
           [(x, limit(steps, 1, BATCH_CONTEXT)) for x, _ in size["Type 2"]])
    batch = {name: curve(steps, "BatchedStep", "sequences", kind) for kind, name in TYPES.items()}
    yield ("context 128", "sequences", batch, [(x, limit(steps, x, BATCH_CONTEXT)) for x, _ in batch["plain"]])


def draw(panels, file):
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    for axis, (title, label, lines, bound) in zip(axes, panels):
        for name, points in lines.items():
            axis.plot(*zip(*points), marker="o", label=name, color=COLORS[name])
        axis.plot(*zip(*bound), color="grey", linestyle="--", label="limit of the machine")
        axis.set(xscale="log", xlabel=label, ylabel="milliseconds a step", title=title)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(file, metadata={"Date": None})


def print_table(panels, steps):
    print(f"reads {only(steps, 'ReadMemory')['bytes_per_second'] / 1e9:.1f} GB/s, multiplies "
          f"{only(steps, 'LargeProduct')['items_per_second'] / 1e9:.0f} G/s; a step's bare at::linear calls take "
          f"{1e3 * only(steps, 'BareLinearCalls')['seconds']:.1f} ms")
    for title, label, lines, bound in panels:
        print(f"\n{title}; ms\n| {label} | " + " | ".join([*lines, "limit"]) + " |")
        print("| --- " * (len(lines) + 2) + "|")
        for i, (x, bound_ms) in enumerate(bound):
            print(f"| {x:,} | " + " | ".join(f"{points[i][1]:.1f}" for points in lines.values()) + f" | {bound_ms:.1f} |")
    print("\nexact mode; ms, and the rows computed of each layer\n| context | memory | a step | all anew | ratio | rows |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, arguments, benchmark in steps:
        if name != "DecodeStep/exact":
            continue
        step = 1e3 * benchmark["seconds"]
        anew = dict(curve(steps, "Prefill", "tokens", arguments["type"]))[arguments["context"]]
        print(f"| {arguments['context']} | {TYPES[arguments['type']]} | {step:.1f} | {anew:.1f} | "
              f"{anew / step:.1f} | {benchmark['rows']:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", type=argparse.FileType())
    parser.add_argument("memory", type=argparse.FileType())
    parser.add_argument("-o", "--output", help="file; its ending says the format, as .svg or .png")
    options = parser.parse_args()
    steps, memory = report.read(options.steps), report.read(options.memory)
    panels = list(curves(steps, memory))
    print_table(panels, steps)
    if options.output:
        draw(panels, options.output)


if __name__ == "__main__":
    main()
