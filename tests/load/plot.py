#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws reports of load_generator: throughput and latencies against clients (or the rate), a curve a label.

    tests/load/plot.py 1.json 4.json 16.json -o load.svg     (needs Debian's python3-matplotlib)"""

import argparse
import collections
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

PANELS = [("tokens a second", lambda report: {"": report["tokens_per_second"]}),
          ("time to first token, ms", lambda report: percentiles(report["time_to_first_token_seconds"])),
          ("time between tokens, ms", lambda report: percentiles(report["time_between_tokens_seconds"])),
          ("requests that failed, %", lambda report: {"": failed(report)})]


def percentiles(times):
    return {name: 1000 * times[name] for name in ("p50", "p99") if name in times}


def failed(report):
    return 100 * (1 - report["codes"].get("OK", 0) / max(report["requests"], 1))


def draw(reports, file):
    closed = [report for report in reports if "clients" in report]
    axis = "clients" if closed else "rate"
    if closed and len(closed) < len(reports):
        raise SystemExit("plot.py: closed-loop and open-loop reports do not share an axis; draw them apart")
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), constrained_layout=True)
    for panel, (title, read) in zip(axes.flat, PANELS):
        curves = collections.defaultdict(list)
        for report in sorted(reports, key=lambda each: each[axis]):
            for name, value in read(report["all"]).items():
                curves[f"{report['label']} {name}".strip()].append((report[axis], value))
        for label, points in curves.items():
            panel.plot(*zip(*points), marker="o", label=label or None)
        panel.set(title=title, xlabel="clients" if closed else "requests a second", ylim=(0, None))
        panel.grid(alpha=0.3)
        if any(curves):
            panel.legend()
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("-o", "--output", required=True, help="file; its ending says the format, as .svg or .png")
    options = parser.parse_args()
    draw([json.loads(file.read_text()) for file in options.reports], options.output)


if __name__ == "__main__":
    main()
