"""Servers that do what each exchange's plan says, and read what comes with h11 and h2."""

import asyncio
import socket
import struct

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h11

from cases import ROUTES, Answer, Seen


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def reset(writer):
    """Ends a connection with RST."""
    if writer.is_closing():
        return
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def send(writer, data, piece):
    """Sends in pieces: a few small ones first, the rest as it comes."""
    at, small = 0, 40
    while at < len(data):
        n = piece if small > 0 else 100000
        small -= 1
        writer.write(data[at:at + n])
        at += n
        await writer.drain()
        if small % 8 == 0:
            await asyncio.sleep(0)


class Servers:
    def __init__(self, cases):
        self.cases = cases  # by name
        self.sharing = {}  # what has come on a connection of HTTP/2
        self.wrong = []  # what no exchange can be blamed for

    def attempt(self, fields, start, copy):
        seen = Seen(start=start, fields=fields)
        case = self.cases.get(seen.get("x-case"))
        if case is None:
            self.wrong.append(f"a request at a server that nobody sent: {start} {fields}")
            return None, Answer(status=404)
        into = case.copies if copy else case.attempts
        into.append(seen)
        seen.answer = Answer() if copy else case.answers[min(len(into), len(case.answers)) - 1]
        return seen, seen.answer

    # HTTP/1.

    async def http1(self, reader, writer, copy=False):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        try:
            while True:
                rest = await self.request1(reader, writer, rest, copy)
                if rest is None:
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def request1(self, reader, writer, rest, copy):
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=100000)
        ended = False
        if rest:
            conn.receive_data(rest)
        seen, answer, answering, method = None, None, None, ""
        try:
            while True:
                event = conn.next_event()
                if event is h11.NEED_DATA:
                    if seen and answering is None and (conn.they_are_waiting_for_100_continue):
                        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                        conn.send(h11.InformationalResponse(status_code=100, headers=[]))
                    data = await reader.read(65536)
                    ended = not data
                    conn.receive_data(data)
                elif isinstance(event, h11.Request):
                    fields = [(k.decode(), v.decode("latin-1")) for k, v in event.headers]
                    names = [k for k, _ in fields]
                    if "content-length" in names and "transfer-encoding" in names:
                        self.wrong.append(f"two lengths at a server: {fields}")
                    method = event.method.decode()
                    seen, answer = self.attempt(fields, (method, event.target.decode()), copy)
                    if answer.early and "upgrade" not in names:
                        answering = asyncio.ensure_future(self.answer1(writer, answer, seen, method))
                elif isinstance(event, h11.Data):
                    if seen:
                        seen.body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    if seen:
                        seen.whole = True
                        seen.trailers = [(k.decode(), v.decode()) for k, v in event.headers]
                    break
                else:
                    return None  # ConnectionClosed, between two requests.
        except h11.RemoteProtocolError as error:
            if not ended:
                self.wrong.append(f"malformed at a server: {error}; {seen and seen.fields}; {bytes(rest or b'')[:200]!r}")
            if seen:
                seen.end = "closed"
            return None
        except ConnectionError:
            if seen:
                seen.end = "reset"
            return None
        if seen and "upgrade" in (key for key, _ in seen.fields):
            await self.tunnel1(reader, writer, seen, conn.trailing_data[0])
            return None
        goes_on = await (answering or self.answer1(writer, answer, seen, method))
        return conn.trailing_data[0] if goes_on else None

    async def tunnel1(self, reader, writer, seen, data):
        """Sends back what comes, to its end."""
        seen.whole = False
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-answer: %s\r\n\r\n"
                     % seen.get("x-case").encode())
        while True:
            seen.body += data
            writer.write(data)
            await writer.drain()
            data = await reader.read(65536)
            if not data:
                break
        seen.whole = True
        try:
            writer.write_eof()
        except OSError:
            pass  # The other side was faster.

    async def answer1(self, writer, answer, seen, method):
        """Whether the connection goes on."""
        name = f"{seen.get('x-case')}" if seen else "none"
        if answer.fault == "close":
            writer.close()
            return False
        out = b"".join(b"HTTP/1.1 %d Early Hints\r\nlink: </a>\r\n\r\n" % status for status in answer.interim)
        head = [f"HTTP/1.1 {answer.status} Fine", f"x-answer: {name}", f"x-status: {answer.status}", "content-type: text/plain"]
        head += {"length": [f"content-length: {len(answer.body)}"], "chunked": ["transfer-encoding: chunked"],
                 "close": ["connection: close"], "none": []}[answer.form]
        out += "\r\n".join(head).encode() + b"\r\n\r\n"
        if answer.fault == "cut-head":
            await send(writer, out[: 9 + int(answer.at * (len(out) - 12))], answer.piece)
            writer.close()
            return False
        body = answer.body
        at = int(answer.at * len(body))
        if answer.form == "chunked":
            size = max(1, min(answer.piece * 3, 30000))
            if answer.fault in ("cut-body", "reset-body", "bad-chunk"):
                body = body[:at]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[n:n + size]), body[n:n + size]) for n in range(0, len(body), size))
            trailers = "".join(f"{k}: {v}\r\n" for k, v in answer.trailers).encode()
            end = b"0\r\n" + trailers + b"\r\n"
            end = {"bad-chunk": b"zz\r\n", "cut-body": b"", "reset-body": b""}.get(answer.fault, end)
            body = chunks + end
        elif answer.fault in ("cut-body", "reset-body"):
            body = body[:at]
        elif answer.fault == "long":
            body += b"HTTP/1.1 200 OK\r\nx-evil: 1\r\ncontent-length: 4\r\n\r\nevil"
        if method == "HEAD":
            body = b""
        try:
            await send(writer, out + body, answer.piece)
        except ConnectionError:
            return False
        if seen:
            seen.sent = not answer.fault or answer.fault == "long"
        if answer.fault == "reset-body":
            reset(writer)
            return False
        if answer.fault in ("cut-body", "bad-chunk") or answer.form == "close":
            # What is still coming is read: a close before that would be a reset.
            try:
                writer.write_eof()
            except OSError:
                pass  # The other side was faster.
            return False
        return True

    # HTTP/2.

    async def http2(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        conn.local_settings = h2.settings.Settings(client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        conn.initiate_connection()
        writer.write(conn.data_to_send())
        streams, work, tunnels = {}, [], {}
        room = asyncio.Condition()
        try:
            while data := await reader.read(65536):
                for event in conn.receive_data(data):
                    sid = getattr(event, "stream_id", 0)
                    if isinstance(event, h2.events.RequestReceived):
                        fields = [(k, v) for k, v in event.headers]
                        own = dict(fields)
                        seen, answer = self.attempt(fields, (own.get(":method"), own.get(":path")), False)
                        streams[sid] = (seen, answer)
                        if seen:
                            self.sharing.setdefault(conn, []).append(seen)
                        if ":protocol" in own and seen:
                            tunnels[sid] = asyncio.Queue()
                            work.append(asyncio.ensure_future(self.tunnel2(conn, writer, sid, seen, tunnels[sid], room)))
                        elif answer.early or seen is None:
                            work.append(asyncio.ensure_future(self.answer2(conn, writer, sid, answer, seen, room)))
                    elif isinstance(event, h2.events.DataReceived):
                        if streams[sid][0]:
                            streams[sid][0].body += event.data
                        conn.acknowledge_received_data(event.flow_controlled_length, sid)
                        if sid in tunnels:
                            tunnels[sid].put_nowait(event.data)
                    elif isinstance(event, h2.events.TrailersReceived):
                        streams[sid][0].trailers = list(event.headers)
                    elif isinstance(event, h2.events.StreamEnded):
                        seen, answer = streams[sid]
                        if seen:
                            seen.whole = True
                            if sid in tunnels:
                                tunnels[sid].put_nowait(None)
                            elif not answer.early:
                                work.append(asyncio.ensure_future(self.answer2(conn, writer, sid, answer, seen, room)))
                    elif isinstance(event, h2.events.StreamReset):
                        if sid in streams and streams[sid][0]:
                            streams[sid][0].end = "reset"
                async with room:
                    room.notify_all()
                writer.write(conn.data_to_send())
                await writer.drain()
        except h2.exceptions.ProtocolError as error:
            last = streams.get(getattr(error, "stream_id", max(streams, default=0)), (None, None))[0]
            self.wrong.append(f"malformed at a server of HTTP/2: {error!r}: {last and (last.start, last.fields, last.end, last.whole)}; {data[-300:]!r}")
        except ConnectionError:
            pass
        finally:
            for task in work:
                task.cancel()
            writer.close()

    def mark_crossed(self):
        """What is on its way to a server of HTTP/2 may be lost, unread, with the connection that is broken off."""
        for case in self.cases.values():
            over = case.got is not None and case.got.whole
            if ROUTES[case.route][0] == 2 and not case.attempts and not over:
                case.crossed = True

    async def tunnel2(self, conn, writer, sid, seen, queue, room):
        try:
            conn.send_headers(sid, [(":status", "200"), ("x-answer", seen.get("x-case"))])
            writer.write(conn.data_to_send())
            while (data := await queue.get()) is not None:
                await self.data2(conn, writer, sid, data, 100000, room)
            conn.end_stream(sid)
            writer.write(conn.data_to_send())
        except (h2.exceptions.ProtocolError, ConnectionError, KeyError):
            return  # The stream is gone.

    async def answer2(self, conn, writer, sid, answer, seen, room):
        name = seen.get("x-case") if seen else "none"
        head = [(":status", str(answer.status)), ("x-answer", name), ("x-status", str(answer.status)), ("content-type", "text/plain")]
        fault, at = answer.fault, int(answer.at * len(answer.body))
        method = seen.start[0] if seen else "GET"
        try:
            if fault in ("refuse", "reset"):
                codes = h2.errors.ErrorCodes
                conn.reset_stream(sid, codes.REFUSED_STREAM if fault == "refuse" else codes.INTERNAL_ERROR)
                return
            if fault == "data-first":
                writer.write(conn.data_to_send() + frame(0, 1, sid, b"no head"))
                return
            for status in answer.interim:
                conn.send_headers(sid, [(":status", str(status)), ("link", "</a>")])
            if answer.form == "length":
                head.append(("content-length", str(len(answer.body))))
            body = b"" if method == "HEAD" else answer.body
            ends = not body and not answer.trailers and not fault
            conn.send_headers(sid, head, end_stream=ends)
            if fault == "needless-data":
                writer.write(conn.data_to_send() + frame(0, 1, sid, b"needless"))
                return
            if fault in ("short", "reset-body", "close-body"):
                body = body[:at]
            if fault == "long":
                body += b"more than was said"
            await self.data2(conn, writer, sid, body, answer.piece, room)
            if fault == "reset-body":
                conn.reset_stream(sid, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif fault == "close-body":
                for other in self.sharing[conn]:
                    other.shared = True
                self.mark_crossed()
                writer.write(conn.data_to_send())
                reset(writer)
            elif fault == "open-trailers":
                block = conn.encoder.encode([("x-open", "1")])
                writer.write(conn.data_to_send() + frame(1, 4, sid, block) + frame(0, 1, sid, b"more"))
            elif answer.trailers:
                conn.send_headers(sid, answer.trailers, end_stream=True)
            elif not ends:
                conn.end_stream(sid)
            if seen:
                seen.sent = not fault
        except (h2.exceptions.ProtocolError, ConnectionError, KeyError):
            return  # The stream is gone.
        finally:
            if not writer.is_closing():
                writer.write(conn.data_to_send())

    async def data2(self, conn, writer, sid, body, piece, room):
        at, small = 0, 40
        while at < len(body):
            n = min(conn.local_flow_control_window(sid), 16384, len(body) - at)
            if small > 0:
                n, small = min(n, piece), small - 1
            if n <= 0:
                async with room:
                    await asyncio.wait_for(room.wait(), 20)
                continue
            conn.send_data(sid, body[at:at + n])
            at += n
            writer.write(conn.data_to_send())
            await writer.drain()
