#!/usr/bin/env python3
"""How many faults the unit tests notice, file by file.

    benches/house/mutants.py [--seed N] [--each N] [--tree DIRECTORY] [--again] [WORD]...

`cargo mutants --list` says in which ways a file could be wrong. A seeded sample of them is tried in a copy of what is
committed, and a table tells how many were caught, missed and unviable (did not compile) of each file. With words, only files
whose path contains one of them are tried. `--each` is the size of the sample of a file (15).

A mutant is tried with the unit tests of its own module first, so that mutants of files which do not use each other share a
build; those that survive are then tried alone with all unit tests of their crate. A test that takes longer than a minute has
caught its mutant. What is missed is listed at the end: tests/ may still catch it.

Rooms above all that is tried are left out of the copy, which makes a build take half of the time.

`--tree` is where the copy is made (target/mutants/tree); `--again` keeps what an earlier run there has found out.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import time

SEED = 20261127
MINUTE = 60

# The files in question, the tests of their own, and what they stand on: two files share a build only if neither stands on
# the other. `None` never shares one.
CODEC = "crates/http-codec/src/"
BALANCE = "src/balance/"
HASHES = tuple(BALANCE + name for name in "hash ring maglev key alias least_request mod".split())
ROOMS = [
    (CODEC + name, "", None)
    for name in (
        "h2/receive.rs h2/heads.rs h2/mod.rs h2/stream.rs h2/control.rs h2/send.rs h2/take.rs h2/slot.rs h2/flood.rs "
        "framing.rs chunked.rs head.rs request.rs pairs.rs frames.rs hpack/decode.rs hpack/encode.rs hpack/huffman.rs hpack/table.rs"
    ).split()
] + [
    ("src/policy/jwt.rs", "policy::jwt::", ()),
    ("src/policy/limit.rs", "policy::limit::", ()),
    ("src/endpoint/breaker.rs", "endpoint::breaker::", ()),
    ("src/exchange/target.rs", "exchange::target::", ()),
    ("crates/route/src/paths.rs", "", None),
    ("src/upstream/retry.rs", "upstream::retry::", ()),
    ("src/upstream/choose.rs", "upstream::", ("src/upstream/",)),
    ("src/balance/round_robin.rs", "balance::round_robin::", (BALANCE + "mod",)),
    ("src/balance/least_conn.rs", "balance::least_conn::", (BALANCE + "mod",)),
    ("src/balance/shard.rs", "balance::shard::", (BALANCE + "mod", BALANCE + "key")),
    ("src/balance/peak_ewma.rs", "balance::peak_ewma::", (BALANCE + "mod", BALANCE + "alias")),
    *((f"{BALANCE}{name}.rs", f"balance::hash:: balance::{name}::", HASHES) for name in ("hash", "ring", "maglev")),
    ("src/balance/least_request.rs", "balance::least_request::", (BALANCE + "mod", BALANCE + "alias")),
    ("src/balance/key.rs", "balance::key::", ()),
    ("src/balance/alias.rs", "balance::alias::", ()),
    ("src/balance/random.rs", "balance::tests::", (BALANCE,)),
    ("src/balance/mod.rs", "balance::tests::", (BALANCE,)),
]


def run(command, where, environment, limit=None):
    """Its exit status and its output; `None` as status if it took too long."""
    process = subprocess.Popen(
        command, cwd=where, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )
    try:
        return process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return process.communicate()[0], None


class Trials:
    def __init__(self, root, tree, environment):
        self.root, self.tree, self.environment = root, tree, environment

    def write(self, mutant):
        """Writes the file with the mutant in it, or as it is committed."""
        path, text = mutant["file"], mutant["text"]
        with open(os.path.join(self.tree, path), "w", encoding="utf-8") as file:
            file.write(text)

    def restore(self, mutant):
        with open(os.path.join(self.tree, mutant["file"]), "w", encoding="utf-8") as file:
            file.write(mutant["plain"])

    def build(self, package):
        """The test program, or what the compiler said."""
        command = ["cargo", "test", "-p", package, "--lib", "--no-run", "--message-format=json"]
        out, code = run(command, self.tree, self.environment)
        program, errors = None, []
        for line in out.splitlines():
            if not line.startswith("{"):
                continue
            message = json.loads(line)
            if message.get("executable") and message["target"]["kind"] == ["lib"]:
                program = message["executable"]
            if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
                errors += [span["file_name"] for span in message["message"]["spans"]]
        if code != 0:
            return None, errors or [out[-2000:]]
        return program, []

    def passes(self, program, package, words, limit=MINUTE):
        where = os.path.join(self.tree, "." if package == "tidegate" else f"crates/{package}")
        environment = {**self.environment, "CARGO_MANIFEST_DIR": where, "RUST_BACKTRACE": "0"}
        out, code = run(["nice", program, "-q", *words], where, environment, limit)
        if code == 0 and not re.search(r"[1-9]\d* passed", out):
            sys.exit(f"no test is called {words}")
        return code == 0

    def attempt(self, mutants):
        """Tries mutants of several files in one build; those that do not compile are left out, and said so."""
        mutants = list(mutants)
        package = mutants[0]["package"]
        while mutants:
            for mutant in mutants:
                self.write(mutant)
            try:
                program, errors = self.build(package)
            finally:
                for mutant in mutants:
                    self.restore(mutant)
            if program:
                break
            guilty = [m for m in mutants if any(m["file"] in error for error in errors)]
            if not guilty and len(mutants) > 1:
                # What contradicts another file is not told from the others by the message.
                half = len(mutants) // 2
                yield from self.attempt(mutants[:half])
                yield from self.attempt(mutants[half:])
                return
            for mutant in guilty or mutants:
                yield mutant, "unviable"
                mutants.remove(mutant)
        for mutant in mutants:
            words = mutant["words"]
            yield mutant, "missed" if self.passes(program, package, words) else "caught"


def sample(root, words, seed, each):
    chosen = [room for room in ROOMS if not words or any(word in room[0] for word in words)]
    files = [argument for room in chosen for argument in ("-f", room[0])]
    command = ["cargo", "mutants", "--workspace", "--list", "--json", *files]
    listed = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)
    for path, tests, stands_on in chosen:
        mutants = sorted((m for m in listed if m["file"] == path), key=lambda m: m["name"])
        mutants = random.Random(f"{seed} {path}").sample(mutants, min(each, len(mutants)))
        with open(os.path.join(root, path), encoding="utf-8", newline="") as file:
            plain = file.read()
        lines = plain.splitlines(keepends=True)
        for mutant in mutants:
            start, end = mutant["span"]["start"], mutant["span"]["end"]
            before = "".join(lines[: start["line"] - 1]) + lines[start["line"] - 1][: start["column"] - 1]
            after = lines[end["line"] - 1][end["column"] - 1 :] + "".join(lines[end["line"] :])
            text = f"{before}{mutant['replacement']}{after}"
            yield {**mutant, "plain": plain, "text": text, "words": tests.split() or [""], "stands_on": stands_on}


def leave_out_rooms(tree, mutants):
    """Takes the rooms out of the library that stand above all that is tried, by the list in ARCHITECTURE.md: a room names
    only rooms below its own, and a build of the lower half takes half of the time."""
    with open(os.path.join(tree, "ARCHITECTURE.md"), encoding="utf-8") as page:
        floors = re.search(r"```text floors\n(.*?)```", page.read(), re.S)[1].split("\n")
    tried = {re.split(r"[/.]", mutant["file"])[1] for mutant in mutants if mutant["package"] == "tidegate"}
    top = max((at for at, floor in enumerate(floors) if tried & set(floor.split())), default=len(floors))
    above = {room for floor in floors[top + 1 :] for room in floor.split()}
    path = os.path.join(tree, "src/lib.rs")
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line for line in lines if line[len("pub mod ") :].rstrip(";\n") not in above)


def share(one, other):
    """True if the two may be in one build."""
    if one["stands_on"] is None or other["stands_on"] is None or one["file"] == other["file"]:
        return False
    return not any(
        a["file"].startswith(b) for a, b in
        [(one, b) for b in other["stands_on"]] + [(other, b) for b in one["stands_on"]]
    )


def batches(mutants):
    made = []
    for mutant in mutants:
        fitting = (batch for batch in made if all(share(mutant, other) for other in batch))
        batch = next(fitting, None)
        if batch is None:
            made.append([mutant])
        else:
            batch.append(mutant)
    return made


def main():
    options = argparse.ArgumentParser()
    options.add_argument("words", nargs="*")
    options.add_argument("--seed", type=int, default=SEED)
    options.add_argument("--each", type=int, default=15)
    options.add_argument("--tree")
    options.add_argument("--again", action="store_true")
    options = options.parse_args()
    root = subprocess.check_output(["git", "rev-parse", "--show-toplevel"], text=True).strip()
    tree = os.path.abspath(options.tree or os.path.join(root, "target/mutants/tree"))
    os.makedirs(tree, exist_ok=True)
    subprocess.run(f"git archive HEAD | tar -xm -C '{tree}'", shell=True, cwd=root, check=True)
    environment = {**os.environ, "CARGO_TERM_COLOR": "never"}
    environment.setdefault("CARGO_TARGET_DIR", os.path.join(root, "target"))
    # What fails with one mutant must not be tried with the next ones.
    environment["PROPTEST_DISABLE_FAILURE_PERSISTENCE"] = "true"
    environment.setdefault("PROPTEST_MAX_SHRINK_ITERS", "0")
    trials = Trials(root, tree, environment)
    mutants = list(sample(tree, options.words, options.seed, options.each))
    leave_out_rooms(tree, mutants)
    kept = os.path.join(tree, "found.json")
    found = json.load(open(kept)) if options.again and os.path.exists(kept) else {}

    def note(mutant, verdict):
        found[mutant["name"]] = verdict
        print(f"{time.strftime('%H:%M:%S')} {verdict:8} {mutant['name']}", flush=True)
        with open(kept, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=0)

    for package in sorted({m["package"] for m in mutants}):
        program, errors = trials.build(package)
        for words in {tuple(m["words"]) for m in mutants if m["package"] == package}:
            if not program or not trials.passes(program, package, words, 10 * MINUTE):
                sys.exit(f"{package}: the tests {words} fail as they are\n" + "\n".join(errors))
        ours = [m for m in mutants if m["package"] == package and m["name"] not in found]
        for batch in batches(ours):
            for mutant, verdict in trials.attempt(batch):
                note(mutant, verdict)
        # Their neighbours' tests too, with all of the others as they are.
        for mutant in ours:
            near = [word.partition("::")[0] + "::" for word in mutant["words"] if word]
            if found[mutant["name"]] == "missed" and near not in ([], mutant["words"]):
                for _, verdict in trials.attempt([{**mutant, "words": near}]):
                    note(mutant, verdict)

    print(f"\n{'file':42}{'caught':>8}{'missed':>8}{'unviable':>10}{'':>8}")
    total = {"caught": 0, "missed": 0, "unviable": 0}
    for path in dict.fromkeys(m["file"] for m in mutants):
        of = [found[m["name"]] for m in mutants if m["file"] == path]
        row = {verdict: of.count(verdict) for verdict in total}
        total = {verdict: total[verdict] + row[verdict] for verdict in total}
        print_row(path, row)
    print_row("all", total)
    for mutant in mutants:
        if found[mutant["name"]] == "missed":
            print(f"missed {mutant['name']}")


def print_row(name, row):
    share = 100 * row["caught"] / max(row["caught"] + row["missed"], 1)
    print(f"{name:42}{row['caught']:8}{row['missed']:8}{row['unviable']:10}{share:6.0f} %")


if __name__ == "__main__":
    main()
