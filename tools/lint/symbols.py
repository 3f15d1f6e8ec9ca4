"""What object files import and keep: the part of the rooms' table that nobody can talk around.

Includes say what a file means to use; undefined symbols say what it uses. Three questions to each
object: does it import a symbol of the machine that its room was not granted, does it call into a
room that its own may not reach, and does it hold mutable state outside objects?
"""

import os
import re
import shlex
import subprocess

from includes import compile_commands
from tree import Finding

WRITABLE = re.compile(r"^\.(data(?!\.rel\.ro)(?!\.rel\.local\.DW)|bss|tbss|tdata)")

LIBRARY = re.compile(r"(?:std|__gnu_cxx|fmt|google|boost|absl|spdlog|nlohmann|toml|CLI)::")


class Object:
    def __init__(self, source, path):
        self.source = source
        self.path = path
        self.undefined = []
        self.strong = []  # defined here and nowhere else
        self.writable = []


def objects_of(tree, build):
    """Objects of the tree's own sources, from the compilation database."""
    result = []
    for entry in compile_commands(build):
        source = os.path.relpath(os.path.join(entry["directory"], entry["file"]), tree.root)
        if source not in tree.known:
            continue
        words = shlex.split(entry["command"])
        output = entry.get("output") or words[words.index("-o") + 1]
        result.append(Object(source, os.path.join(entry["directory"], output)))
    return result


def read_objects(objects):
    """One nm over all: name, value, class, type, size, line, section. Returns readable names."""
    if not objects:
        return
    by_path = {o.path: o for o in objects}
    done = subprocess.run(
        ["nm", "-f", "sysv", "-A", *by_path], capture_output=True, text=True, check=False
    )
    names = set()
    for line in done.stdout.split("\n"):
        columns = [c.strip() for c in line.split("|")]
        if len(columns) < 7:
            continue
        path, _, name = columns[0].partition(":")
        found = by_path.get(path)
        if found is None or not name:
            continue
        kind, section = columns[2], columns[6]
        if kind in "Uvw" and section == "*UND*":
            found.undefined.append(name)
        elif WRITABLE.match(section) and columns[3] in ("OBJECT", "TLS"):
            found.writable.append(name)
        if kind in "TDBRC":
            found.strong.append(name)
        names.add(name)
    ordered = sorted(names)
    demangled = subprocess.run(
        ["c++filt"], input="\n".join(ordered), capture_output=True, text=True, check=True
    )
    return dict(zip(ordered, demangled.stdout.split("\n")))


def check_symbols(tree, rooms, build, complete, notes):
    objects = objects_of(tree, build)
    present, stale = [], []
    for found in objects:
        path = os.path.join(tree.root, found.source)
        fresh = os.path.exists(found.path) and os.path.getmtime(found.path) >= os.path.getmtime(
            path
        )
        (present if fresh else stale).append(found)
    built = {o.source for o in objects}
    # A build that forgot a source would prove nothing about it.
    stale_sources = {o.source for o in stale} | {
        p
        for p in tree.code
        if p.endswith((".cc", ".c")) and p not in built and p.split("/")[0] not in ("fuzz", "bench")
    }
    notes.append(f"symbols of {len(present)} objects")
    if stale_sources:
        some = ", ".join(sorted(stale_sources)[:3]) + (", …" if len(stale_sources) > 3 else "")
        yield Finding(
            sorted(stale_sources)[0],
            1,
            "not-built",
            f"{len(stale_sources)} sources have no fresh object in {build}: {some}",
            "build first, then lint",
            warning=not complete,
        )
    names = read_objects(present) or {}
    home = {}  # strong symbol -> room that defines it
    for found in present:
        room = rooms.room(found.source)
        if room and not rooms.is_test(found.source):
            for name in found.strong:
                if "varve::" in names[name]:
                    home.setdefault(name, room.folder)
    for found in present:
        room = rooms.room(found.source)
        if room is not None:
            yield from _check_object(tree, rooms, found, room, home, names)


def _check_object(tree, rooms, found, room, home, names):
    allowed = rooms.linked(room.folder)
    for name in found.undefined:
        readable = names[name]
        if name in home:
            if home[name] not in allowed and not rooms.is_test(found.source):
                yield Finding(
                    found.source,
                    _line(tree, found.source, readable),
                    "room-symbol",
                    f"{room.folder} calls {readable}, which {home[name]} defines",
                    f"{room.folder} may not reach {home[name]} (tools/lint/rooms.txt)",
                )
        elif "varve::" not in readable and not rooms.may_import(found.source, readable):
            groups = [g for g in rooms.groups_of_symbol(readable) if g.name != "stderr"]
            what = f" ({groups[0].name})" if groups else ""
            instead = (
                groups[0].instead
                if groups
                else "add it to a group of tools/lint/rooms.txt and grant that"
            )
            yield Finding(
                found.source,
                _line(tree, found.source, readable),
                "os-symbol",
                f"{room.folder} may not import {readable}{what}",
                instead,
            )
    if not rooms.licensed(found.source, "globals"):
        for name in found.writable:
            yield from _global(tree, found, names[name])


def _global(tree, found, readable):
    """A writable variable outside any object. Constants initialised at run time lie there too."""
    if readable.startswith(
        ("guard variable", "vtable", "typeinfo", "DW.ref", "construction vtable", "VTT")
    ):
        return
    if LIBRARY.match(readable):
        return  # its inline variable
    name = re.sub(r"\[abi:\w+\]", "", readable)
    name = re.split(r"::", name)[-1].split(".")[0]
    paths = [found.source, found.source.rsplit(".", 1)[0] + ".h"]
    paths += [n for _, n, quoted in tree.source(found.source).includes() if quoted]
    for path in paths:
        if path not in tree.known:
            continue
        for number, line in enumerate(tree.source(path).code_lines, 1):
            if re.search(rf"\b{re.escape(name)}\b\s*(\[|=|\{{|;|\()", line) and re.search(
                r"\b(static|thread_local|inline|constinit)\b|^[\w:<>*, ]+\s[*&]?" + re.escape(name),
                line,
            ):
                # `const T* x` is a mutable pointer; `const T x` and `T* const x` are not.
                declared = line.split(name)[0]
                if re.search(r"\bconst(expr)?\b(?!.*\*\s*$)|\*\s*const\s*$", declared):
                    return
                yield Finding(
                    path,
                    number,
                    "mutable-global",
                    f"'{name}' is state outside any object",
                    "make it a member of the object that lives as long as it should",
                )
                return
    yield Finding(
        found.source,
        1,
        "mutable-global",
        f"'{readable}' is state outside any object",
        "make it a member of the object that lives as long as it should",
    )


def _line(tree, path, readable):
    """Where the source names the symbol or its class; 1 if only what it includes does."""
    parts = re.split(r"[(\[<]", readable)[0].split("::")
    for name in reversed(
        [p.split(" ")[0] for p in parts if p not in ("std", "varve", "chrono", "")]
    ):
        for number, line in enumerate(tree.source(path).code_lines, 1):
            if re.search(rf"\b{re.escape(name)}\b", line) and not line.lstrip().startswith("#"):
                return number
    return 1
