#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what memory_benchmark measured, and prints it as a table.

    build/benchmarks/memory_benchmark --benchmark_out=memory.json
    tests/benchmarks/plot_memory.py memory.json -o tests/benchmarks/memory.svg     (needs Debian's python3-matplotlib)"""

import argparse
import collections

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt  # noqa: E402

import report  # noqa: E402

STORING = {"Create": "create", "Load": "load", "Append": "append 1,000 tokens"}
USING = {"Search": "search of one key",
         "Step/type:0": "step, plain", "Step/type:2": "step, Type 2", "Step/type:3": "step, Type 3",
         "BatchedStep/type:0": "step of 16, plain", "BatchedStep/type:2": "step of 16, Type 2",
         "BatchedStep/type:3": "step of 16, Type 3"}


def read(file):
    """{curve: {tokens: benchmark}}, seconds in benchmark["seconds"]."""
    curves = collections.defaultdict(dict)
    for name, arguments, benchmark in report.read(file):
        tokens = arguments.pop("tokens", None)
        curves["/".join([name, *(f"{key}:{value}" for key, value in arguments.items())])][tokens] = benchmark
    return curves


def time_in_words(seconds):
    for unit in ("s", "ms", "us"):
        if seconds >= report.SECONDS[unit]:
            break
    number = seconds / report.SECONDS[unit]
    return f"{number:.{0 if number >= 100 else 1}f} {unit}"


def table(curves):
    sizes = sorted(curves["Create"])
    rows = [[""] + [f"{size:,}" for size in sizes], ["---"] * (len(sizes) + 1)]
    rows.append(["bytes"] + [f"{curves['Create'][size]['GB']:.3g} GB" for size in sizes])
    for curve, name in {**STORING, **USING}.items():
        rows.append([name] + [time_in_words(curves[curve][size]["seconds"]) for size in sizes])
        if curve == "Search":
            rows.append(["recall@5"] + [f"{curves[curve][size]['recall']:.3f}" for size in sizes])
    for row in rows:
        print("| " + " | ".join(row) + " |")


def draw(curves, file):
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for panel, names in zip(panels, (STORING, USING)):
        for curve, name in names.items():
            points = sorted((size, benchmark["seconds"]) for size, benchmark in curves[curve].items())
            panel.plot(*zip(*points), marker="o", label=name)
        panel.set(xscale="log", yscale="log", xlabel="tokens in the memory", ylabel="seconds")
        panel.grid(alpha=0.3)
    for panel in panels:
        panel.legend()
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=argparse.FileType())
    parser.add_argument("-o", "--output", help="file; its ending says the format, as .svg or .png")
    options = parser.parse_args()
    curves = read(options.report)
    table(curves)
    if options.output:
        draw(curves, options.output)


if __name__ == "__main__":
    main()
