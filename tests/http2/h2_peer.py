"""HTTP/2 as the Python library h2 speaks it, without TLS.

h2_peer.py tunnels                 a server that echoes whatever comes through `CONNECT` with a protocol (RFC 8441), on a
                                   port that it prints; ends with its input
h2_peer.py socket HOST PORT        asks HOST:PORT for a WebSocket, says `ping` through it, prints what came as JSON
h2_peer.py call HOST PORT TIMEOUT  makes a call of gRPC with this timeout, prints the head of the answer as JSON
h2_peer.py refused HOST PORT       asks for one that it does not get, prints the answer as JSON
h2_peer.py talk HOST PORT          sends a body and trailers, prints the answer as JSON
"""

import json
import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings

CONNECT = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


def serve(sock):
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    conn.local_settings = h2.settings.Settings(client=False, initial_values={CONNECT: 1})
    conn.initiate_connection()
    sock.sendall(conn.data_to_send())
    while data := sock.recv(65536):
        for event in conn.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                got = dict(event.headers)
                told = [("x-method", got[":method"]), ("x-protocol", got.get(":protocol", "none")),
                        ("x-keys", str(sum(name == "sec-websocket-key" for name, _ in event.headers))),
                        ("sec-websocket-protocol", got.get("sec-websocket-protocol", "none"))]
                conn.send_headers(event.stream_id, [(":status", "200")] + told)
            elif isinstance(event, h2.events.DataReceived):
                conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                conn.send_data(event.stream_id, event.data)
            elif isinstance(event, h2.events.StreamEnded):
                conn.end_stream(event.stream_id)
        sock.sendall(conn.data_to_send())


def tunnels():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


class Client:
    def __init__(self, host, port):
        self.sock = socket.create_connection((host, int(port)), timeout=10)
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.conn.initiate_connection()
        self.flush()
        self.events = []

    def flush(self):
        self.sock.sendall(self.conn.data_to_send())

    def until(self, *kinds):
        while True:
            for at, event in enumerate(self.events):
                if isinstance(event, kinds):
                    return self.events.pop(at)
            data = self.sock.recv(65536)
            if not data:
                raise SystemExit("closed: %r" % self.events)
            self.events += self.conn.receive_data(data)
            self.flush()


def ask_for_socket(host, port, refused=False):
    client = Client(host, port)
    client.until(h2.events.RemoteSettingsChanged)
    seen = {"offered": client.conn.remote_settings.enable_connect_protocol}
    client.conn.send_headers(1, [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
        (":authority", "a.test"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")])
    client.flush()
    answer = client.until(h2.events.ResponseReceived, h2.events.StreamReset)
    if isinstance(answer, h2.events.StreamReset):
        raise SystemExit("reset")
    seen["head"] = dict(answer.headers)
    if refused:
        seen["body"] = client.until(h2.events.DataReceived).data.decode()
        print(json.dumps(seen))
        return
    client.conn.send_data(1, b"ping")
    client.flush()
    seen["echo"] = client.until(h2.events.DataReceived).data.decode()
    client.conn.end_stream(1)
    client.flush()
    client.until(h2.events.StreamEnded)
    seen["ended"] = True
    print(json.dumps(seen))


def talk(host, port):
    client = Client(host, port)
    client.conn.send_headers(1, [
        (":method", "POST"), (":scheme", "https"), (":path", "/a?b=c"), (":authority", "a.test"),
        ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("trailer", "x-sum")])
    client.conn.send_data(1, b"one ")
    client.conn.send_data(1, b"two")
    client.conn.send_headers(1, [("x-sum", "7"), ("authorization", "sly")], end_stream=True)
    client.flush()
    seen = {"interim": [], "body": "", "trailers": {}}
    while True:
        event = client.until(h2.events.Event)
        if isinstance(event, h2.events.InformationalResponseReceived):
            seen["interim"].append(dict(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            seen["head"] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            seen["body"] += event.data.decode()
        elif isinstance(event, h2.events.TrailersReceived):
            seen["trailers"] = dict(event.headers)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            break
    print(json.dumps(seen))


def call(host, port, timeout):
    client = Client(host, port)
    client.conn.send_headers(1, [
        (":method", "POST"), (":scheme", "http"), (":path", "/shop.Api/Unary"), (":authority", "a.test"),
        ("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", timeout)])
    client.conn.send_data(1, b"\0\0\0\0\0", end_stream=True)
    client.flush()
    print(json.dumps({"head": dict(client.until(h2.events.ResponseReceived).headers)}))


if __name__ == "__main__":
    {"tunnels": tunnels, "socket": ask_for_socket,
     "refused": lambda host, port: ask_for_socket(host, port, True), "talk": talk, "call": call}[sys.argv[1]](*sys.argv[2:])
