"""Clients that send what each exchange's plan says, and read what comes with h11 and h2."""

import asyncio
import socket

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

from cases import COMPRESSED, Seen
from servers import frame, reset, send

PATIENCE = 12


def fields_of(case):
    fields = [("x-case", case.name)]
    if case.route in COMPRESSED:
        fields.append(("accept-encoding", "gzip"))
    if case.form == "length":
        length = len(case.body)
        if case.fault == "short":
            length += 5
        elif case.fault == "long":
            length -= max(1, int(case.at * length))
        fields.append(("content-length", str(length)))
    return fields


# HTTP/1.


def request1(case):
    """The bytes of a request, and whether it is cut behind them."""
    fields = [("host", "a.test")] + fields_of(case)
    if case.form == "tunnel":
        fields += [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
                   ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
        head = f"GET /{case.route}/{case.name} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields)
        return head.encode() + b"\r\n"
    if case.form == "chunked":
        fields.append(("transfer-encoding", "chunked"))
    if case.expect:
        fields.append(("expect", "100-continue"))
    head = f"{case.method} /{case.route}/{case.name} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields)
    head = head.encode() + b"\r\n"
    if case.fault == "cut-head":
        return head[: 1 + int(case.at * (len(head) - 2))]
    body = case.body
    if case.fault in ("cut-body", "reset-body", "bad-chunk"):
        body = body[: int(case.at * len(body))]
    if case.form == "chunked":
        size = max(1, min(case.piece * 3, 20000))
        end = b"0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in case.trailers).encode() + b"\r\n"
        end = {"bad-chunk": b"5 \r\nhello\r\n0\r\n\r\n", "cut-body": b"", "reset-body": b""}.get(case.fault, end)
        body = b"".join(b"%x\r\n%s\r\n" % (len(body[n:n + size]), body[n:n + size]) for n in range(0, len(body), size)) + end
    return head + body


async def response1(reader, rest, method):
    """One final response, and what came behind it."""
    conn = h11.Connection(h11.CLIENT, max_incomplete_event_size=200000)
    conn.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    conn.send(h11.EndOfMessage())
    seen, ended = Seen(), False
    if rest:
        conn.receive_data(rest)
    try:
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                data = await asyncio.wait_for(reader.read(65536), PATIENCE)
                ended = not data
                conn.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                seen.interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                seen.start = event.status_code
                seen.fields = [(k.decode(), v.decode("latin-1")) for k, v in event.headers]
            elif isinstance(event, h11.Data):
                seen.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                seen.whole = True
                seen.trailers = [(k.decode(), v.decode()) for k, v in event.headers]
                break
            else:
                seen.end = "closed"
                return seen, b""
    except h11.RemoteProtocolError as error:
        seen.end = "closed" if ended else f"malformed: {error}"
        return seen, b""
    except asyncio.TimeoutError:
        seen.end = "silence"
        return seen, b""
    except ConnectionError:
        seen.end = "reset"
        return seen, b""
    return seen, conn.trailing_data[0]


async def tunnel1(reader, writer, rest, case):
    """Asks for a tunnel, says the body through it and listens to the echo."""
    seen = Seen()
    try:
        await send(writer, request1(case), case.piece)
        while b"\r\n\r\n" not in rest:
            data = await asyncio.wait_for(reader.read(65536), PATIENCE)
            if not data:
                seen.end = "closed"
                return seen
            rest += data
        head, rest = rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        seen.start = int(lines[0].split(" ")[1])
        seen.fields = [(k.lower(), v) for k, v in (line.split(": ", 1) for line in lines[1:])]
        seen.body += rest

        async def say():
            await send(writer, case.body, case.piece)
            writer.write_eof()

        saying = asyncio.ensure_future(say())
        while data := await asyncio.wait_for(reader.read(65536), PATIENCE):
            seen.body += data
        await saying
        seen.whole = True
    except asyncio.TimeoutError:
        seen.end = "silence"
    except OSError:
        seen.end = "reset"
    return seen


async def client1(address, pipelined, cases, wrong):
    reader, writer = await asyncio.open_connection(*address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    rest, writing = b"", None

    async def write(some):
        try:
            for case in some:
                await send(writer, request1(case), case.piece)
        except ConnectionError:
            pass

    def answered(seen):
        return seen.whole and (seen.get("connection") or "") != "close"

    groups = [list(cases)] if pipelined else [[case] for case in cases]
    alive = True
    for group in groups:
        if not alive:
            break
        last = group[-1]
        tunnel = group.pop() if last.form == "tunnel" else None
        writing = asyncio.ensure_future(write(group))
        if last.fault in ("cut-head", "cut-body", "reset-body", "leave"):
            for case in group[:-1]:
                case.got, rest = await response1(reader, rest, case.method)
                alive = answered(case.got)
                if not alive:
                    break
            if alive:
                await writing
                await asyncio.sleep(last.at * 0.02)
            writing.cancel()
            if last.fault in ("reset-body", "leave"):
                reset(writer)
            break
        for case in group:
            case.got, rest = await response1(reader, rest, case.method)
            alive = answered(case.got)
            if not alive:
                break
        if not alive:
            writing.cancel()
        elif tunnel:
            tunnel.got, rest = await tunnel1(reader, writer, rest, tunnel), b""
    blamed = False
    for case in cases:
        # After a server's fault, and after an upload that came to nothing, the connection may end too, and what was
        # pipelined with it.
        case.aborted = blamed
        blamed = blamed or any(seen.answer.fault or seen.answer.early and case.body for seen in case.attempts)
    # Who leaves does not read what has come.
    if rest and not cases[-1].fault:
        told = [(case.name, case.got and (case.got.start, case.got.whole, case.got.fields)) for case in cases]
        wrong.append(f"behind the last response: {bytes(rest[:200])!r}; {told}")
    writer.close()


# HTTP/2.


async def client2(address, cases, wrong):
    reader, writer = await asyncio.open_connection(*address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    conn = h2.connection.H2Connection(h2.config.H2Configuration(
        header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False))
    conn.initiate_connection()
    writer.write(conn.data_to_send())
    room = asyncio.Condition()
    streams = {}
    for case in cases:
        case.got = Seen()
    over = asyncio.Event()
    sending = [asyncio.ensure_future(request2(conn, writer, case, (cases, streams), room)) for case in cases]

    def check_over():
        if all(case.got.whole or case.got.end for case in cases):
            over.set()

    async def read():
        try:
            while data := await reader.read(65536):
                for event in conn.receive_data(data):
                    sid = getattr(event, "stream_id", None)
                    seen = streams[sid].got if sid in streams else None
                    if isinstance(event, h2.events.InformationalResponseReceived):
                        seen.interim.append(int(dict(event.headers)[":status"]))
                    elif isinstance(event, h2.events.ResponseReceived):
                        seen.fields = list(event.headers)
                        seen.start = int(seen.get(":status"))
                    elif isinstance(event, h2.events.DataReceived):
                        seen.body += event.data
                        conn.acknowledge_received_data(event.flow_controlled_length, sid)
                    elif isinstance(event, h2.events.TrailersReceived):
                        seen.trailers = list(event.headers)
                    elif isinstance(event, h2.events.StreamEnded):
                        seen.whole = True
                    elif isinstance(event, h2.events.StreamReset) and seen and not seen.whole:
                        seen.end = "reset"
                    elif isinstance(event, h2.events.ConnectionTerminated) and event.error_code:
                        for case in cases:
                            case.aborted = True
                async with room:
                    room.notify_all()
                if writer.is_closing():
                    break
                writer.write(conn.data_to_send())
                check_over()
        except h2.exceptions.ProtocolError as error:
            wrong.append(f"{[case.name for case in cases]}: malformed at a client of HTTP/2: {error!r}")
        except ConnectionError:
            pass
        for case in cases:
            if not case.got.whole:
                case.got.end = case.got.end or "closed"
        over.set()

    reading = asyncio.ensure_future(read())
    try:
        await asyncio.wait_for(over.wait(), PATIENCE)
    except asyncio.TimeoutError:
        for case in cases:
            if not case.got.whole:
                case.got.end = case.got.end or "silence"
    for task in (*sending, reading):
        task.cancel()
    writer.close()


async def request2(conn, writer, case, connection, room):
    everybody, streams = connection
    await asyncio.sleep(case.at * 0.01)
    fault, body = case.fault, case.body
    head = [(":method", case.method), (":scheme", "http"), (":authority", "a.test"), (":path", f"/{case.route}/{case.name}")]
    if fault == "connect-length":
        head = [(":method", "CONNECT"), (":protocol", "foo")] + head[1:]
        head += [("x-case", case.name), ("content-length", "43")]
        body = b""
    elif case.form == "tunnel":
        head = [(":method", "CONNECT"), (":protocol", "websocket")] + head[1:]
        head += [("x-case", case.name), ("sec-websocket-version", "13")]
    else:
        head += fields_of(case)
    if not body and case.form == "none" or case.form == "length" and not case.body:
        ends = not case.trailers and fault not in ("connect-length",)
    else:
        ends = False
    cut = int(case.at * len(body))
    try:
        sid = conn.get_next_available_stream_id()
        streams[sid] = case
        conn.send_headers(sid, head, end_stream=ends)
        writer.write(conn.data_to_send())
        if fault == "connect-length":
            return
        while case.form == "tunnel" and case.got.start is None and not case.got.end:
            async with room:
                await asyncio.wait_for(room.wait(), 20)
        if fault in ("reset", "window-0", "close", "open-trailers", "pseudo-trailers"):
            body, rest = body[:cut], body[cut:]
        at, small = 0, 40
        while at < len(body):
            n = min(conn.local_flow_control_window(sid), 16384, len(body) - at)
            if small > 0:
                n, small = min(n, case.piece), small - 1
            if n <= 0:
                async with room:
                    await asyncio.wait_for(room.wait(), 20)
                continue
            conn.send_data(sid, body[at:at + n])
            at += n
            writer.write(conn.data_to_send())
            await writer.drain()
        if fault == "reset":
            conn.reset_stream(sid, 8)
            case.got.end = "own"
        elif fault == "close":
            for other in everybody:
                other.aborted = True
            await asyncio.sleep(case.at * 0.02)
            reset(writer)
            return
        elif fault == "window-0":
            writer.write(conn.data_to_send() + frame(8, 0, sid, bytes(4)) + frame(0, 1, sid, rest[:1000]))
        elif fault == "open-trailers":
            block = conn.encoder.encode([("x-open", "1")])
            writer.write(conn.data_to_send() + frame(1, 4, sid, block) + frame(0, 1, sid, rest[:1000]))
        elif fault == "pseudo-trailers":
            block = conn.encoder.encode([(":path", "/evil")])
            writer.write(conn.data_to_send() + frame(1, 5, sid, block))
        elif case.trailers:
            conn.send_headers(sid, case.trailers, end_stream=True)
        elif not ends:
            conn.end_stream(sid)
        if fault == "leave":
            await asyncio.sleep(case.at * 0.02)
            conn.reset_stream(sid, 8)
            case.got.end = "own"
        if not writer.is_closing():
            writer.write(conn.data_to_send())
    except (h2.exceptions.ProtocolError, ConnectionError, KeyError):
        return  # The stream is gone.
