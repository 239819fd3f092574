#!/usr/bin/env python3
"""How easy the house is to read, as numbers.

    benches/house/measure.py [DIRECTORY]... [--list WORD]

Each directory is a checkout; the default is this one. With several, one column for each. `--list WORD` prints what a row
counts instead, for example `--list circle`, `--list meanings`, `--list doc`.

Counted is the code of `src` and `crates`, without tests where names and documentation are concerned. It is read as text,
which is exact enough to compare two states of one repository, and nothing else.
"""
import os
import re
import subprocess
import sys
from collections import defaultdict

# A documentation comment that begins so has no subject: the reader has to guess it from the name.
RIDDLES = set("what whether who whom whose which why how where when it its he she they their this these those there".split())

EXAMPLES = [
    ("files that name a balancer (peak_ewma)", r"PeakEwma|peak_ewma"),
    ("files that name a policy with counters (concurrency)", r"\bConcurrency\b|policy::concurrency|mod concurrency|(policies|written|self)\.concurrency|\bConcurrencyConfig\b"),
    ("files that name a policy of responses (compress)", r"\bCompress\b|\bcompress\b|\bEncoding\b|\bWanted\b"),
    ("files that name a source of servers (file)", r"\bSource::File\b|\bmod file\b|file::Files|discovery::\{[^}]*\bFiles\b"),
    ("files outside of src/h2 that name the sides of HTTP/2", r"H2Client|H2Origin|\bh2::"),
]


def blank(text):
    """The code with comments, texts and characters blanked out, line for line."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|\bb?r(?P<hash>#*)".*?"(?P=hash)|b?"(?:\\.|[^"\\])*"|\'(?:\\[^\n]*?|[^\\\n])\'(?!\w)', re.S
    )
    return token.sub(lambda m: "\n" * m.group().count("\n") or " ", text)


def sources(root):
    for top in ("src", "crates"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(".rs"):
                    path = os.path.join(folder, name)
                    yield os.path.relpath(path, root), open(path, encoding="utf-8").read()


def is_test(path):
    return any(part in ("tests.rs", "tests", "simulation", "benches") for part in path.split("/"))


def without_tests(text):
    """What stands before the tests at the end of a file."""
    at = re.search(r"^#\[cfg\(test\)\]\s*(pub(\(\w+\))? )?mod \w+ \{", text, re.M)
    return text[: at.start()] if at else text


def first_names(code, at):
    """The first names of the path, or of the list of paths, that begins at `at`."""
    single = re.compile(r"\s*(\w+)").match(code, at)
    if single:
        return [single.group(1)]
    names, depth, fresh = [], 0, False
    for part in re.finditer(r"[{},]|\w+", code[at:]):
        part = part.group()
        if part == "{":
            depth += 1
            fresh = depth == 1
        elif part == "}":
            depth -= 1
            if depth <= 0:
                break
        elif part == ",":
            fresh = depth == 1
        else:
            if fresh and depth == 1:
                names.append(part)
            fresh = False
    return names


def circle(files):
    """Rooms that lie on a circle of `crate::` and `super::` paths."""
    library = next(text for path, text in files if path == "src/lib.rs")
    rooms = set(re.findall(r"^pub mod (\w+);", library, re.M))
    arrows = defaultdict(set)
    for path, text in files:
        if not path.startswith("src/"):
            continue
        parts = path[len("src/") : -len(".rs")].split("/")
        if parts[-1] == "mod":
            parts.pop()
        code = blank(text)
        tests = len(blank(without_tests(text)))
        for found in re.finditer(r"\bcrate::", code):
            arrows[parts[0]].update(first_names(code, found.end()))
        for found in re.finditer(r"(?<![\w:])(?:super::)+", code):
            inside = len(parts) + (found.start() > tests)
            if found.group().count("super") >= inside:
                arrows[parts[0]].update(first_names(code, found.end()))

    def reachable(start):
        seen, todo = set(), [start]
        while todo:
            for room in arrows[todo.pop()] & rooms - seen:
                seen.add(room)
                todo.append(room)
        return seen

    alone = {room: arrows[room].discard(room) for room in rooms}
    return sorted(room for room in alone if room in reachable(room))


def functions(code):
    """Name, first line and length of every function with a body."""
    for found in re.finditer(r"\bfn (\w+)", code):
        depth, at, end = 0, found.end(), None
        while at < len(code):
            c = code[at]
            if c in "([{":
                depth += 1
            elif c in ")]}":
                depth -= 1
                if depth == 0 and c == "}":
                    end = at
                    break
            elif c == ";" and depth == 0:
                break
            at += 1
        first = code.count("\n", 0, found.start()) + 1
        length = code.count("\n", found.start(), end) + 1 if end else 0
        yield found.group(1), first, length


def doc_comments(text):
    """The first line of every documentation comment of an item."""
    lines, before = text.split("\n"), False
    for number, line in enumerate(lines, 1):
        doc = re.match(r"\s*///(?!/)\s?(.*)", line)
        if doc and not before:
            yield number, doc.group(1).strip()
        before = bool(doc)


def measure(root):
    files = list(sources(root))
    types, names, docs, long, sizes = defaultdict(list), [], [], [], []
    for path, text in files:
        sizes.append(text.count("\n"))
        code = blank(text)
        long += [f"{path}:{line} {name} ({n} lines)" for name, line, n in functions(code) if n > 100]
        if is_test(path):
            continue
        text = without_tests(text)
        code = blank(text)
        for name in re.findall(r"\b(?:struct|enum|trait|union|type) ([A-Z]\w*)(?![^=;{]*;\s*//assoc)", code):
            types[name].append(path)
        names += [(name, f"{path}:{line}") for name, line, _ in functions(code)]
        docs += [(number, first, path) for number, first in doc_comments(text) if first]
    associated = {"Output", "Error", "Item", "Target", "Err", "Body", "Data", "Future"}
    one_word = lambda name: len(re.findall(r"[A-Z][a-z0-9]*", name)) == 1
    short_types = [name for name in types for _ in types[name] if one_word(name)]
    short_names = [f"{where} {name}" for name, where in names if "_" not in name]
    meanings = {n: p for n, p in types.items() if len(p) > 1}
    riddles = [
        f"{path}:{number} {first}"
        for number, first, path in docs
        if re.split(r"[^A-Za-z]", first)[0].lower() in RIDDLES
    ]
    sizes.sort()
    at = lambda share: sizes[min(len(sizes) - 1, int(len(sizes) * share))]
    percent = lambda part, whole: f"{100 * part / max(1, whole):.0f} % ({part} of {whole})"
    all_types = sum(map(len, types.values()))
    # What an addition touches, told by the files that name an example of it.
    def touched(pattern):
        program = ("src/", "crates/config/")
        return sorted(p for p, t in files if p.startswith(program) and not is_test(p) and re.search(pattern, blank(without_tests(t))))

    rows = [
        ("rooms in a circle", (c := circle(files)), str(len(c))),
        ("type names of one word", short_types, percent(len(short_types), all_types)),
        ("function names of one word", short_names, percent(len(short_names), len(names))),
        ("type names with several meanings", [f"{n} {' '.join(p)}" for n, p in sorted(meanings.items())], str(len(meanings))),
        ("doc comments that begin with a pronoun or question", riddles, percent(len(riddles), len(docs))),
        ("functions over 100 lines", long, str(len(long))),
        ("files: number, median and 90th percentile of lines", sizes, f"{len(sizes)}, {at(0.5)}, {at(0.9)}"),
    ]
    for what, pattern in EXAMPLES:
        room = re.search(r"outside of (\S+)", what)
        found = [path for path in touched(pattern) if not room or not path.startswith(room[1] + "/")]
        rows.append((what, found, str(len(found))))
    return rows


def main():
    arguments = sys.argv[1:]
    if "--list" in arguments:
        at = arguments.index("--list")
        word = arguments[at + 1]
        del arguments[at : at + 2]
        for name, counted, _ in measure((arguments or ["."])[0]):
            if word in name:
                print(*counted, sep="\n")
        return
    roots = arguments or [subprocess.check_output(["git", "rev-parse", "--show-toplevel"], text=True).strip()]
    columns = [measure(root) for root in roots]
    print("| measured | " + " | ".join(roots) + " |")
    print("|---|" + "---|" * len(roots))
    for rows in zip(*columns):
        print(f"| {rows[0][0]} | " + " | ".join(row[2] for row in rows) + " |")


main()
