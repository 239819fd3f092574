"""A gRPC service, and a client that tries every kind of call; both are grpcio's.

grpc_peer.py serve               serves shop.Api on a port of the system's choice, prints it, ends with its input
grpc_peer.py one TARGET METHOD S  makes one call that it waits S seconds for, and prints how that ended as JSON
grpc_peer.py call TARGET [CA]    makes the calls at TARGET, over TLS if there is a CA, and prints what it saw as JSON
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc


def raw(data):
    return data


class Api(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rsplit("/", 1)[-1]
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler,
            "Down": grpc.unary_stream_rpc_method_handler,
            "Up": grpc.stream_unary_rpc_method_handler,
            "Both": grpc.stream_stream_rpc_method_handler,
            "Fail": grpc.unary_unary_rpc_method_handler,
            "Slow": grpc.unary_unary_rpc_method_handler,
            "Flaky": grpc.unary_unary_rpc_method_handler,
            "Late": grpc.unary_stream_rpc_method_handler,
        }
        if not details.method.startswith("/shop.Api/") or method not in kinds:
            return None
        return kinds[method](getattr(self, method.lower()), raw, raw)

    def unary(self, request, context):
        context.set_trailing_metadata((("seen-by", "unary"), ("raw-bin", b"\x00\xff")))
        got = dict(context.invocation_metadata())
        left = context.time_remaining()
        return json.dumps({"got": request.decode(), "from": got.get("x-from"), "via": got.get("x-forwarded-proto"),
                           "deadline": left is not None and left < 1000}).encode()

    def down(self, request, context):
        for n in range(int(request)):
            yield b"%d" % n

    def up(self, requests, context):
        return b"%d" % sum(int(request) for request in requests)

    def both(self, requests, context):
        for request in requests:
            yield request.upper()

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 100 % — nö")

    def slow(self, request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)
        return b"late"

    def flaky(self, request, context):
        self.tries = getattr(self, "tries", 0) + 1
        if self.tries % 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        return b"%d" % self.tries

    def late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "half of it is gone")


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((Api(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


def outcome(call):
    try:
        return {"ok": call().decode()}
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}


def call(target, ca):
    if ca:
        credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
        channel = grpc.secure_channel(target, credentials)
    else:
        channel = grpc.insecure_channel(target)
    api = "/shop.Api/"
    seen = {}
    unary = channel.unary_unary(api + "Unary", raw, raw)
    answer, details = unary.with_call(b"milk", timeout=10, metadata=(("x-from", "python"),))
    seen["unary"] = json.loads(answer)
    seen["trailers"] = {key: repr(value) for key, value in details.trailing_metadata()}
    seen["down"] = [int(n) for n in channel.unary_stream(api + "Down", raw, raw)(b"1000", timeout=10)]
    seen["down"] = [len(seen["down"]), seen["down"] == sorted(seen["down"])]
    seen["up"] = channel.stream_unary(api + "Up", raw, raw)((b"%d" % n for n in range(1000)), timeout=10).decode()
    # Each word is sent only when the answer to the one before has come.
    turn = threading.Semaphore(1)
    words = [b"a", b"bc", b"def"]

    def talk():
        for word in words:
            turn.acquire()
            yield word

    heard = []
    for word in channel.stream_stream(api + "Both", raw, raw)(talk(), timeout=10):
        heard.append(word.decode())
        turn.release()
    seen["both"] = heard
    large = b"x" * 3_000_000
    seen["large"] = len(channel.stream_stream(api + "Both", raw, raw)(iter([large]), timeout=20).next())
    seen["fail"] = outcome(lambda: channel.unary_unary(api + "Fail", raw, raw)(b"", timeout=10))
    seen["unknown"] = outcome(lambda: channel.unary_unary("/other.Api/Do", raw, raw)(b"", timeout=10))
    seen["flaky"] = outcome(lambda: channel.unary_unary(api + "Flaky", raw, raw)(b"", timeout=10))
    late = channel.unary_stream(api + "Late", raw, raw)(b"", timeout=10)
    seen["late"] = [next(late).decode(), outcome(lambda: next(late))]
    began = time.monotonic()
    seen["slow"] = outcome(lambda: channel.unary_unary(api + "Slow", raw, raw)(b"", timeout=0.3))
    seen["slow"]["soon"] = time.monotonic() - began < 10
    channel.close()
    print(json.dumps(seen))


def one(target, method, patience):
    with grpc.insecure_channel(target) as channel:
        print(json.dumps(outcome(lambda: channel.unary_unary(method, raw, raw)(b"x", timeout=float(patience)))))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "one":
        one(*sys.argv[2:])
    else:
        call(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
