"""Exchanges out of a seed: what a client sends, what a server answers, and what goes wrong on either side."""

import random
from dataclasses import dataclass, field

# Routes: the protocol of the servers behind each, and whether failed attempts are repeated.
ROUTES = {"h1": (1, False), "h2": (2, False), "again1": (1, True), "again2": (2, True), "small1": (1, False),
          "small2": (2, False), "copy1": (1, False)}
COMPRESSED = ("small1", "small2")
IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
SIZES = (0, 0, 1, 2, 17, 100, 1000, 16384, 16385, 40000, 90000)

CLIENT_FAULTS = {1: ("cut-head", "cut-body", "bad-chunk", "leave", "reset-body"),
                 2: ("reset", "short", "long", "window-0", "open-trailers", "pseudo-trailers", "close", "leave", "connect-length")}
SERVER_FAULTS = {1: ("close", "cut-head", "cut-body", "reset-body", "bad-chunk", "long"),
                 2: ("refuse", "reset", "reset-body", "short", "long", "open-trailers", "data-first", "close-body", "needless-data")}


@dataclass
class Answer:
    """What a server does with an attempt."""

    status: int = 200
    form: str = "length"  # or none, chunked, close; HTTP/2 servers: length or none-told
    body: bytes = b""
    trailers: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    early: bool = False
    fault: str = ""
    at: float = 0.5  # where in the body the fault is
    piece: int = 1000


@dataclass
class Case:
    name: str
    route: str
    method: str
    form: str  # none, length, chunked (of HTTP/2: length not told), tunnel (a WebSocket whose server echoes)
    body: bytes
    trailers: list
    fault: str
    at: float
    piece: int
    expect: bool
    answers: list
    # What servers and copies have seen, and what the client has.
    attempts: list = field(default_factory=list)
    copies: list = field(default_factory=list)
    got: object = None
    aborted: bool = False  # the connection was given up because of another exchange on it
    crossed: bool = False  # before a server had read it, one broke off a connection that it may have been on

    @property
    def complete(self):
        """Whether the client sends a whole and sound request."""
        return self.fault in ("", "leave")


@dataclass
class Seen:
    """A message as an independent parser saw it."""

    start: object = None
    fields: list = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: list = field(default_factory=list)
    whole: bool = False
    interim: list = field(default_factory=list)
    end: str = ""  # how it ended otherwise
    answer: object = None
    shared: bool = False  # it shared a connection that a server broke off
    sent: bool = False  # all of the answer has been given to the kernel

    def get(self, name):
        return next((value for key, value in self.fields if key == name), None)


def body_of(rng, size, name):
    """Bytes of which any part, taken for a message, would be noticed."""
    evil = b"0\r\n\r\nGET /h1/evil HTTP/1.1\r\nHost: a\r\nx-case: evil-%s\r\n\r\nHTTP/1.1 200 OK\r\nx-evil: 1\r\ncontent-length: 0\r\n\r\n" % name.encode()
    noise = rng.randbytes(min(size, 400)) + evil
    return (noise * (size // len(noise) + 1))[:size]


def trailers_of(rng):
    return [("x-sum", str(rng.randrange(1000)))] if rng.random() < 0.3 else []


def answer_of(rng, name, case_method, protocol, faulty):
    status = rng.choice((200, 200, 200, 200, 201, 204, 304, 404, 500, 503))
    form = rng.choice(("length", "chunked", "close") if protocol == 1 else ("length", "untold"))
    body = body_of(rng, rng.choice(SIZES), name)
    if status in (204, 304):
        form, body = "none", b""
    trailers = trailers_of(rng) if form in ("chunked", "untold") and case_method != "HEAD" else []
    interim = [103] * rng.choice((0, 0, 0, 1, 2))
    fault = rng.choice(SERVER_FAULTS[protocol]) if faulty else ""
    if fault in ("cut-body", "reset-body", "short", "bad-chunk", "close-body") and (len(body) < 2 or case_method == "HEAD"):
        fault = "cut-head" if protocol == 1 else "reset"
    if fault in ("cut-body",) and form == "close":
        form = "length"
    if fault == "bad-chunk":
        form = "chunked"
    if fault in ("long",) and form != "length" or fault in ("short",):
        form = "length"
    if fault in ("long", "open-trailers", "needless-data", "data-first") and case_method == "HEAD":
        fault = "reset" if protocol == 2 else ""
    if fault == "needless-data":
        status, form, body = rng.choice((204, 304)), "none", b""
    elif fault == "long" and form == "none" or fault in ("long", "short", "bad-chunk", "open-trailers") and status in (204, 304):
        status, form = 200, "chunked" if fault == "bad-chunk" else "untold" if fault == "open-trailers" else "length"
        body = body or b"some body"
    if fault in ("long", "short", "open-trailers", "bad-chunk"):
        trailers, body = [], body or b"some body"
    if form in ("length", "none", "close"):
        trailers = []
    return Answer(status, form, body, trailers, interim, rng.random() < 0.2, fault, rng.random(), rng.choice((1, 7, 100, 5000, 100000)))


def cases_of(seed):
    """The exchanges of one connection of a client, which speaks HTTP/1 or HTTP/2."""
    rng = random.Random(seed)
    protocol = rng.choice((1, 2))
    cases = []
    for n in range(rng.randint(1, 5)):
        name = f"{seed}-{n}"
        route = rng.choice(list(ROUTES))
        server, again = ROUTES[route]
        fault = rng.choice(CLIENT_FAULTS[protocol]) if rng.random() < 0.3 else ""
        method = rng.choice(("GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS"))
        form = rng.choice(("none", "length", "chunked"))
        body = b"" if form == "none" else body_of(rng, rng.choice(SIZES), name)
        if fault in ("cut-body", "reset-body", "bad-chunk", "reset", "short", "long", "window-0", "open-trailers", "pseudo-trailers", "close"):
            method, body = rng.choice(("POST", "PUT")), body if len(body) > 10 else b"transfer 100 from a to b"
            form = {"bad-chunk": "chunked", "short": "length", "long": "length"}.get(fault, form)
            form = "length" if form == "none" else form
            body = body[:60000] if protocol == 2 else body
        if rng.random() < 0.1:
            fault, form, method, route = "", "tunnel", "GET", rng.choice(("h1", "h2", "again1"))
            server, again = ROUTES[route]
            body = body_of(rng, rng.choice(SIZES), name)
        trailers = trailers_of(rng) if form == "chunked" and not fault else []
        expect = protocol == 1 and bool(body) and not fault and form != "tunnel" and rng.random() < 0.15
        faulty = not fault and form != "tunnel" and rng.random() < 0.3
        tries = 3 if again or server == 2 else 1
        answers = [answer_of(rng, name, method, server, faulty and (k == 0 or rng.random() < 0.5)) for k in range(tries)]
        if route in COMPRESSED:
            for answer in answers:
                answer.body = answer.body.hex().encode()[: len(answer.body) * 2]
        for answer in answers:
            # h2 takes no trailers on a stream that it has ended itself.
            answer.early = answer.early and not trailers
        if fault in ("leave", "reset") and protocol == 2:
            for answer in answers:
                answer.interim = []  # h2 takes none on a stream that it has reset itself.
        cases.append(Case(name, route, method, form, body, trailers, fault, rng.random(), rng.choice((1, 3, 50, 1000, 9000, 200000)), expect, answers))
        if (fault or form == "tunnel") and protocol == 1:
            break  # Nothing can follow it on a connection of HTTP/1.
    return protocol, rng.random() < 0.5, cases
