# SPDX-License-Identifier: Apache-2.0
"""What a token costs through the server, over gRPC, on top of the same engine in process."""
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

SECONDS_A_ROUND = 8
MOST_SHARE, MOST_MS = 0.05, 0.3  # whichever is more


class Server:
    """mtm_server with the model; `address` of it."""

    def __init__(self, build, model, threads):
        self.build, self.folder = build, tempfile.TemporaryDirectory()
        port = pathlib.Path(self.folder.name) / "port"
        self.process = subprocess.Popen(
            [build / "server" / "mtm_server", "serve", "--model", model, "--store", pathlib.Path(self.folder.name) / "store",
             "--listen", "127.0.0.1:0", "--port-file", port, "--threads", str(threads), "--log-level", "warning"])
        while not port.exists():
            if self.process.poll() is not None:
                raise RuntimeError("mtm_server did not start")
            time.sleep(0.01)
        self.address = f"127.0.0.1:{port.read_text().strip()}"

    def milliseconds_a_token(self, prompt, new):
        """Of one client, one request after another, prompts included."""
        file = pathlib.Path(self.folder.name) / "report.json"
        request = {"prompt_tokens": prompt, "max_tokens": new, "temperature": 0}
        subprocess.run([self.build / "tests" / "load_generator", "--server", self.address, "--clients", "1", "--warm-up",
                        "1", "--seconds", str(SECONDS_A_ROUND), "--request", json.dumps(request), "--json", file],
                       check=True, stdout=subprocess.DEVNULL)
        return 1e3 / json.loads(file.read_text())["all"]["tokens_per_second"]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def measure(server, in_process, prompts, new, rounds):
    """{"in_process_ms", "server_ms"}: medians of alternating rounds. `in_process`: a contender of compare.py."""
    alone, through = [], []
    for _ in range(rounds):
        begin, taken = time.monotonic(), []
        while time.monotonic() < begin + SECONDS_A_ROUND:
            taken.append(in_process.run(prompts)[0])
        alone.append(1e3 * sum(taken) / len(taken) / new)
        through.append(server.milliseconds_a_token(len(prompts[0]), new))
    return {"in_process_ms": statistics.median(alone), "server_ms": statistics.median(through)}


def target(result):
    """(name, value, at most)"""
    alone = result["in_process_ms"]
    return ("the server's share of a token, ms", result["server_ms"] - alone, max(MOST_SHARE * alone, MOST_MS))
