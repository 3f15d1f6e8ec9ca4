"""Who includes whom, and which headers of the machine; include circles; each header alone."""

import concurrent.futures
import json
import os
import shlex
import subprocess

from tree import Finding


def check_includes(tree, rooms, paths):
    for path in paths:
        if not path.endswith((".h", ".cc", ".c")):
            continue
        room = rooms.room(path)
        if room is None:
            yield Finding(
                path,
                1,
                "room",
                f"'{path.split('/')[0]}' is not a room",
                "give the folder a row in tools/lint/rooms.txt",
            )
            continue
        for line, name, quoted in tree.source(path).includes():
            check = _quoted if quoted else _angled
            yield from check(tree, rooms, path, room, line, name)


def _quoted(tree, rooms, path, room, line, name):
    if name.endswith(".pb.h"):
        target = name[: -len(".pb.h")] + ".proto"
    else:
        target = name
    if target not in tree.known:
        beside = os.path.join(os.path.dirname(path), name)
        advice = (
            f'write "{beside}"'
            if beside in tree.known
            else "our own headers are named from the root; others take <>"
        )
        yield Finding(path, line, "include-path", f'"{name}" is no file of this tree', advice)
        return
    if name.endswith((".cc", ".c")):
        yield Finding(
            path,
            line,
            "include-path",
            f'"{name}" is a source file',
            "move what is shared to a header",
        )
    other = rooms.room(target)
    if other and other.folder not in rooms.reachable(path):
        may = ", ".join(sorted(rooms.reachable(path) - {room.folder})) or "nothing but itself"
        yield Finding(
            path,
            line,
            "room-include",
            f"{room.folder} may not include {other.folder} ({name})",
            f"it may include {may}; components meet over wire/, proto/ and client/",
        )
    if rooms.is_test(target) and not rooms.licensed(path, "any"):
        yield Finding(
            path,
            line,
            "room-include",
            f"production code includes the test helper {name}",
            "move what both need out of the test",
        )


def _angled(tree, rooms, path, room, line, name):
    if rooms.licensed(path, "any") or f"<{name}>" in rooms.grants(path):
        return
    groups = rooms.groups_of_header(name)
    if any(g.name in rooms.grants(path) for g in groups):
        library = {g.name for g in groups} & {
            "protobuf",
            "zstd",
            "lz4",
            "crypto",
            "sqlite",
            "context",
        }
        if library and path.endswith(".h") and "plain" not in {g.name for g in groups}:
            yield Finding(
                path,
                line,
                "heavy-header",
                f"<{name}> in a header drags {library.pop()} into all its users",
                "include it in the .cc, behind a small header of ours",
            )
        return
    named = [g for g in groups if g.name not in ("shim", "stderr")]
    if named:
        yield Finding(
            path,
            line,
            "os-header",
            f"<{name}> ({named[0].name}) is not for {room.folder}",
            named[0].instead,
        )
    else:
        yield Finding(
            path,
            line,
            "os-header",
            f"<{name}> is in no group of rooms.txt",
            "add it to the group it belongs to, and the group to the rooms that need it",
        )


def check_circles(tree):
    """Headers that include each other: #pragma once hides it until somebody reorders includes."""
    edges = {
        path: [
            name
            for _, name, quoted in tree.source(path).includes()
            if quoted and name in tree.known
        ]
        for path in tree.code
        if path.endswith(".h")
    }
    done = set()
    for start in edges:
        stack = [(start, iter(edges[start]))] if start not in done else []
        trail = [start]
        while stack:
            path, following = stack[-1]
            name = next((n for n in following if n not in done), None)
            if name is None:
                done.add(path)
                stack.pop()
                trail.pop()
            elif name in trail:
                circle = trail[trail.index(name) :] + [name]
                yield Finding(
                    circle[0],
                    1,
                    "include-circle",
                    " -> ".join(circle),
                    "declare what one of them needs instead",
                )
            elif name in edges:
                stack.append((name, iter(edges[name])))
                trail.append(name)


def compile_commands(build):
    path = os.path.join(build, "compile_commands.json")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def check_headers_alone(tree, build, paths, jobs):
    """Wants #pragma once, and compiles each header alone with the nearest source's flags."""
    headers = [p for p in paths if p.endswith(".h")]
    for path in headers:
        if "#pragma once" not in tree.text(path):
            yield Finding(
                path,
                1,
                "pragma-once",
                "the header has no '#pragma once'",
                "put it after the opening comment",
            )
    commands, proven = {}, set()
    for entry in compile_commands(build):
        source = os.path.relpath(os.path.join(entry["directory"], entry["file"]), tree.root)
        commands[source] = entry
    if not commands:
        return
    # A header that some source includes first, as its own, the build has compiled alone already.
    for source in commands:
        if source in tree.known:
            first = next(tree.source(source).includes(), None)
            if first:
                proven.add(first[1])
    headers = [p for p in headers if p not in proven]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(lambda path: _compile_alone(tree, commands, path), headers):
            yield from found


def _nearest(commands, path):
    """The command of the source in the same language that shares the longest folder with `path`."""

    def shared(source):
        common = (
            os.path.commonpath([os.path.dirname(source), os.path.dirname(path)]) if source else ""
        )
        return (source.rsplit(".", 1)[0] == path.rsplit(".", 1)[0], len(common), source)

    candidates = [s for s in commands if not s.startswith("..")]
    return commands[max(candidates, key=shared)] if candidates else None


def _compile_alone(tree, commands, path):
    entry = _nearest(commands, path)
    if entry is None:
        return []
    arguments, words = [], shlex.split(entry["command"])
    skip = False
    for word in words[1:]:
        if skip or word in ("-c", entry["file"]):
            skip = False
        elif word in ("-o", "-MF", "-MT", "-MQ"):
            skip = True
        else:
            arguments.append(word)
    if words[0].endswith("ccache"):
        words[0], arguments = arguments[0], arguments[1:]
    language = "c" if entry["file"].endswith(".c") else "c++"
    done = subprocess.run(
        [words[0], *arguments, "-fsyntax-only", "-x", language, "-"],
        input=f'#include "{path}"\n',
        capture_output=True,
        text=True,
        cwd=entry["directory"],
    )
    if done.returncode == 0:
        return []
    first = next(
        (l for l in done.stderr.split("\n") if "error:" in l), done.stderr.strip().split("\n")[0]
    )
    return [
        Finding(
            path,
            1,
            "header-alone",
            f"does not compile by itself: {first.strip()}",
            "include what it uses",
        )
    ]
