# SPDX-License-Identifier: Apache-2.0
"""Frames of HTTP/2 as no proper client would send them."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
NAMES = {DATA: "DATA", HEADERS: "HEADERS", RST_STREAM: "RST_STREAM", GOAWAY: "GOAWAY"}
END_STREAM, ACK, END_HEADERS = 1, 1, 4
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]


def integer(value, prefix_bits):
    """HPACK's, with the bits before the prefix 0."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([value])
    encoded, value = [limit], value - limit
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def header(name, value):
    """Literal, neither indexed nor compressed."""
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def request_headers(method, *extra):
    path = f"/mtm.v1.{method}".encode()
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost"),
              (b"te", b"trailers"), (b"content-type", b"application/grpc"), *extra]
    return b"".join(header(name, value) for name, value in fields)


def message(payload, length=None, flags=0):
    """gRPC's, perhaps with a length that is not its own."""
    return struct.pack(">BI", flags, len(payload) if length is None else length) + payload


class Connection:
    def __init__(self, port, preface=PREFACE):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.buffer = b""
        if preface:
            self.socket.sendall(preface)
            self.send(SETTINGS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, payload=b"", flags=0, stream=0):
        self.socket.sendall(self.frame(kind, payload, flags, stream))

    @staticmethod
    def frame(kind, payload=b"", flags=0, stream=0):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def read_frame(self):
        """(kind, flags, stream, payload), or None at the end of the connection."""
        while True:
            if len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + length:
                    kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
                    payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
                    return kind, flags, stream, payload
            try:
                part = self.socket.recv(1 << 16)
            except ConnectionError:
                return None
            if not part:
                return None
            self.buffer += part

    def acknowledge_settings(self):
        """What the server allows counts from here on."""
        while frame := self.read_frame():
            if frame[0] == SETTINGS and not frame[1] & ACK:
                self.send(SETTINGS, flags=ACK)
                return

    def outcome(self, timeout=60):
        """The first frame that ends a stream or the connection, in words."""
        self.socket.settimeout(timeout)
        while True:
            try:
                frame = self.read_frame()
            except TimeoutError:
                return "nothing"
            if frame is None:
                return "connection closed"
            kind, flags, _, payload = frame
            if kind == RST_STREAM:
                return f"RST_STREAM {ERRORS[int.from_bytes(payload, 'big')]}"
            if kind == GOAWAY:
                return f"GOAWAY {ERRORS[int.from_bytes(payload[4:8], 'big')]}"
            if kind == HEADERS and flags & END_STREAM:
                return "an error in the trailers"
