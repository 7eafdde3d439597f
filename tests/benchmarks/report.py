# SPDX-License-Identifier: Apache-2.0
"""What Google Benchmark's --benchmark_out holds."""
import json

SECONDS = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def read(file):
    """[(name, {argument: value}, benchmark)] without what Google Benchmark adds to a name; seconds in
    benchmark["seconds"]."""
    result = []
    for benchmark in json.load(file)["benchmarks"]:
        if benchmark.get("run_type") == "aggregate":
            continue
        benchmark["seconds"] = benchmark["real_time"] * SECONDS[benchmark["time_unit"]]
        parts = [part for part in benchmark["name"].split("/") if part not in ("real_time", "manual_time")]
        pairs = [part.split(":") for part in parts if ":" in part]
        arguments = {key: int(value) for key, value in pairs if key != "iterations"}
        result.append(("/".join(part for part in parts if ":" not in part), arguments, benchmark))
    return result
