"""The client and the servers of a proxy in one process, which knows what was sent and what has come.

relay_peer.py   prints its servers' ports as JSON; then reads {"proxy": PORT, "seeds": [FIRST, END]} and tries each seed;
                prints what was wrong, and counts of what was seen, as JSON
"""

import asyncio
import json
import sys
from collections import Counter

from cases import ROUTES, cases_of
from clients import client1, client2
from judge import judge
from servers import Servers

TOGETHER = 6


async def main():
    cases = {}
    servers = Servers(cases)
    starts = {"h1": servers.http1, "h1b": servers.http1, "h2": servers.http2, "h2b": servers.http2,
              "copy": lambda r, w: servers.http1(r, w, copy=True)}
    ports = {}
    for name, serve in starts.items():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
        ports[name] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    loop = asyncio.get_running_loop()
    told = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    address = ("127.0.0.1", told["proxy"])
    failures, counts = [], Counter()
    turn = asyncio.Semaphore(TOGETHER)

    async def one(seed):
        protocol, pipelined, these = cases_of(seed)
        cases.update((case.name, case) for case in these)
        wrong = []
        async with turn:
            if protocol == 1:
                await client1(address, pipelined, these, wrong)
            else:
                await client2(address, these, wrong)
        await settled(these)
        for case in these:
            faults = list(judge(case, protocol))
            wrong += [f"{case.name}: {fault}; {describe(case, protocol)}" for fault in faults]
            count(counts, case, protocol)
        failures.extend({"seed": seed, "what": what} for what in wrong)

    await asyncio.gather(*(one(seed) for seed in range(*told["seeds"])))
    failures.extend({"seed": None, "what": what} for what in servers.wrong)
    print(json.dumps({"failures": failures, "counts": counts}), flush=True)


async def settled(these):
    """Copies may be on their way still, and cut requests may not have been noticed."""
    before = None
    for _ in range(40):
        now = [(len(seen.body), seen.whole, seen.end) for case in these for seen in case.attempts + case.copies]
        if now == before:
            return
        before = now
        await asyncio.sleep(0.1)


def count(counts, case, protocol):
    server = ROUTES[case.route][0]
    pair = f"{protocol} to {server}"
    counts["exchanges"] += 1
    for seen in case.attempts:
        counts[f"{pair}: requests {'whole' if seen.whole else 'cut'}"] += 1
    if case.got and case.got.get("x-answer"):
        counts[f"{pair}: responses {'whole' if case.got.whole else 'cut'}"] += 1
    counts["repeated"] += len(case.attempts) > 1
    counts["tunnels"] += case.form == "tunnel" and bool(case.got and case.got.whole)
    counts["copies"] += len(case.copies)
    counts["compressed"] += bool(case.got and case.got.get("content-encoding"))
    counts["trailers"] += bool(case.got and case.got.trailers) + any(seen.trailers for seen in case.attempts)


def describe(case, protocol):
    answers = [f"{a.status} {a.form} {len(a.body)}B trailers={len(a.trailers)} early={a.early} fault={a.fault or '-'}" for a in case.answers]
    attempts = [f"{s.start} {len(s.body)}B whole={s.whole} {s.end} sent={s.sent}" for s in case.attempts]
    got = case.got and (case.got.start, len(case.got.body), case.got.whole, case.got.end, case.got.get("x-status"))
    return (f"HTTP/{protocol} {case.method} {case.route} {case.form} {len(case.body)}B trailers={len(case.trailers)} "
            f"expect={case.expect} fault={case.fault or '-'} answers={answers} attempts={attempts} got={got}")


asyncio.run(main())
