# SPDX-License-Identifier: Apache-2.0
"""A server on loopback laid out as the Hugging Face hub is.

Small files are answered at /REPOSITORY/resolve/REVISION/FILE, large ones redirected to a second host (here another
port) with the hash in the path; /api/models/REPOSITORY/tree/REVISION lists sizes and hashes. Faults are switched on
by attributes of the hub.
"""
import hashlib
import http.server
import json
import re
import threading
import urllib.parse


class Hub:
    def __init__(self, files, large=("model",), revision="main", repository="openai-community/gpt2"):
        """files: name -> bytes; a name that begins with one of `large` is stored as the hub stores large files."""
        self.files = dict(files)
        self.large = tuple(large)
        self.revision = revision
        self.repository = repository
        self.token = None            # what a gated repository wants
        self.cut_after = {}          # name -> list of byte counts after which the next answers break off
        self.ranges = True           # whether parts can be asked for
        self.served = {}             # name -> bytes to send instead of the listed ones
        self.status = {}             # name -> HTTP status to answer
        self.requests = []           # (host, path, Authorization, Range)
        self._front = _Server(self, "hub")
        self._store = _Server(self, "store")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._front.stop()
        self._store.stop()

    @property
    def endpoint(self):
        return self._front.url

    @property
    def store_url(self):
        return self._store.url

    def listing(self):
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "onnx"},
                   {"type": "file", "oid": "0" * 40, "size": 3, "path": "onnx/config.json"}]
        for name, data in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry = {"type": "file", "oid": blob, "size": len(data), "path": name}
            if name.startswith(self.large):
                entry["oid"] = "f" * 40  # that of the pointer file
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        return json.dumps(entries).encode()


class _Server:
    def __init__(self, hub, role):
        handler = type("Handler", (_Handler,), {"hub": hub, "role": role})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.hub
        hub.requests.append((self.role, self.path, self.headers["Authorization"], self.headers["Range"]))
        path = urllib.parse.unquote(self.path.split("?")[0])
        if self.role == "store":
            return self._send_file(path.split("/")[-1])
        if hub.token and self.headers["Authorization"] != f"Bearer {hub.token}":
            return self._answer(401, b'{"error":"Access to this model is restricted."}')
        if path == f"/api/models/{hub.repository}/tree/{hub.revision}":
            return self._answer(hub.status.get("listing", 200), hub.listing())
        match = re.fullmatch(f"/{re.escape(hub.repository)}/resolve/{re.escape(hub.revision)}/(.+)", path)
        if not match or match[1] not in hub.files:
            return self._answer(404, b'{"error":"not found"}')
        return self._resolve(match[1])

    def _resolve(self, name):
        if not name.startswith(self.hub.large):
            return self._send_file(name)
        sha256 = hashlib.sha256(self.hub.files[name]).hexdigest()
        self.send_response(302)
        self.send_header("Location", f"{self.hub.store_url}/{sha256}/{name}?signature=x")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, name):
        hub = self.hub
        if name in hub.status:
            return self._answer(hub.status[name], b"no")
        data = hub.served.get(name, hub.files[name])
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if wanted and hub.ranges:
            start = int(wanted[1])
            if start >= len(data):
                return self._answer(416, b"")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cuts = hub.cut_after.get(name)
        self.wfile.write(data[start:start + cuts.pop(0)] if cuts else data[start:])

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
