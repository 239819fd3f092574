"""What must agree: what was sent, what came out at the other side, and whether each looks whole."""

import zlib

from cases import IDEMPOTENT, ROUTES

# A reset behind these may take with it the head that has been written already.
BROKEN_BODIES = {"cut-body", "reset-body", "bad-chunk", "short", "long", "open-trailers", "close-body", "shared"}


def decoded(seen):
    """The body without gzip; `None` if it is not all there."""
    if seen.get("content-encoding") != "gzip":
        return bytes(seen.body), True
    inflate = zlib.decompressobj(31)
    try:
        body = inflate.decompress(bytes(seen.body))
    except zlib.error:
        return b"", False
    return body, inflate.eof and not inflate.unused_data


def judge(case, protocol):
    """All that is wrong with an exchange."""
    if case.form == "tunnel":
        yield from judge_tunnel(case, protocol)
        return
    server, again = ROUTES[case.route]
    for what, seens in (("server", case.attempts), ("copy", case.copies)):
        for seen in seens:
            yield from judge_request(case, seen, what, server)
    whole = [seen for seen in case.attempts if seen.whole]
    refused = sum(seen.answer.fault == "refuse" for seen in case.attempts)
    if case.method not in IDEMPOTENT and len(whole) - refused > 1:
        yield f"processed {len(whole) - refused} times"
    if len(case.attempts) > 1 and not again and not refused and case.method not in IDEMPOTENT:
        yield f"{len(case.attempts)} attempts"
    if len(case.copies) > 1:
        yield f"{len(case.copies)} copies"
    if case.got is not None:
        yield from judge_response(case, protocol)


def judge_tunnel(case, protocol):
    if len(case.attempts) > 1:
        yield f"{len(case.attempts)} tunnels"
    for seen in case.attempts:
        if not case.body.startswith(bytes(seen.body)) or seen.whole and bytes(seen.body) != case.body:
            yield f"server: another stream: {bytes(seen.body[:300])!r}"
    got = case.got
    if got is None or case.aborted or any(seen.shared for seen in case.attempts):
        return
    if got.get("x-answer") != case.name or got.start != (101 if protocol == 1 else 200):
        yield f"client: no tunnel: {got.start} {got.end} {got.fields}"
    elif not case.body.startswith(bytes(got.body)):
        yield f"client: another stream: {bytes(got.body[:300])!r}"
    elif not got.whole or bytes(got.body) != case.body:
        yield f"client: {len(got.body)} of {len(case.body)} bytes of a tunnel ({got.end})"


def judge_request(case, seen, what, server):
    if seen.start[0] != case.method:
        yield f"{what}: method {seen.start[0]}"
    sent = case.body
    if not sent.startswith(bytes(seen.body)):
        yield f"{what}: another body: {bytes(seen.body[:300])!r}"
    if not seen.whole:
        return
    announced = seen.get("content-length")
    if not case.complete:
        # More than was announced is seen when the announced part has gone already.
        if not (case.fault == "long" and announced and len(seen.body) == int(announced)):
            yield f"{what}: a request that was cut looks whole ({len(seen.body)} of {len(sent)} bytes)"
    elif bytes(seen.body) != sent:
        yield f"{what}: {len(seen.body)} of {len(sent)} bytes look whole"
    elif list(seen.trailers) != case.trailers:
        yield f"{what}: trailers {seen.trailers}"


def judge_response(case, protocol):
    got = case.got
    if got.end.startswith("malformed"):
        yield f"client: {got.end}"
    if got.end == "silence":
        yield "client: silence"
    if got.get("x-evil") or (got.get("x-answer") or case.name) != case.name:
        yield f"client: the answer of somebody else: {got.fields}"
        return
    sound = case.complete and not case.aborted and got.end != "own"
    if got.get("x-answer") is None:
        # It is the proxy's own, or none at all.
        if got.start is not None and got.whole and got.start < 400:
            yield f"client: {got.start} of nobody"
        faults = [seen.answer.fault or "shared" * seen.shared for seen in case.attempts]
        lost = case.crossed and not case.attempts and got.start == 502
        if sound and not any(faults) and not lost:
            yield f"client: {got.start} {got.end} although nothing went wrong: {bytes(got.body[:300])!r}"
        elif sound and got.start is None and not (protocol == 1 and got.end == "reset" and set(faults) & BROKEN_BODIES):
            yield f"client: no answer at all ({got.end})"
        return
    status = int(got.get("x-status"))
    matching = [seen for seen in case.attempts if seen.answer.status == status]
    if not matching or got.start != status:
        yield f"client: {got.start} for {status}"
        return
    answers = [seen.answer for seen in matching]
    body, inflated = decoded(got)
    whole = got.whole and (inflated or case.method == "HEAD")
    bodies = [b"" if case.method == "HEAD" else answer.body for answer in answers]
    if not any(expected.startswith(body) for expected in bodies):
        yield f"client: another body: {body[:300]!r}"
        return
    if whole:
        # What was announced has come, whatever a server did then.
        fine = [seen for seen in matching if seen.sent or seen.answer.fault in ("", "long", "needless-data")
                or seen.answer.fault == "open-trailers" and seen.answer.form == "length"]
        sent = [b"" if case.method == "HEAD" else seen.answer.body for seen in fine]
        if case.method != "HEAD" and not any(s == body for s in sent):
            yield f"client: a response that was cut looks whole ({len(body)} of {[len(b) for b in bodies]} bytes)"
        elif not any(list(got.trailers) == seen.answer.trailers for seen in fine):
            yield f"client: trailers {got.trailers} for {[a.trailers for a in answers]}"
        if got.whole and not inflated and case.method != "HEAD" and got.start not in (204, 304):
            yield "client: what is compressed ends early, and looks whole"
    elif got.whole:
        yield "client: what is compressed was cut, and looks whole"
    elif sound and not any(seen.answer.fault or seen.shared for seen in matching):
        yield f"client: a whole response was cut ({got.end}, {len(body)} of {[len(b) for b in bodies]} bytes)"
