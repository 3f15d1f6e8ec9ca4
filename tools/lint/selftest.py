"""Plants violations in a small tree of its own and wants each named, by its check, at its place.

The planted tree is read by the same code with the same rooms.txt, and its sources are compiled, so
that this also fails when the table is loosened or the object files stop being read. Clean files
stand beside the planted ones: a check that reports everything fails as well.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# No compiler takes these; their text alone is checked, and that their objects are missed.
NOT_COMPILED = ("wal/relative.cc", "wal/unknown.cc", "wal/endless.cc")


def planted():
    """{path: (text, wanted)} of planted.txt; wanted is a list of (check, line or 0), or empty."""
    result, path = {}, None
    with open(os.path.join(HERE, "planted.txt"), encoding="utf-8") as file:
        for line in file.read().split("\n"):
            head = re.fullmatch(r"=== (\S+): (.+)", line)
            repeated = re.fullmatch(r"\*(\d+) (.*)", line)
            if head:
                path, words = head.group(1), head.group(2).split()
                wanted = [tuple(word.split("@")) for word in words if word != "clean"]
                result[path] = ([], [(check, int(at[0]) if at else 0) for check, *at in wanted])
            elif path and repeated:
                result[path][0].extend([repeated.group(2)] * int(repeated.group(1)))
            elif path:
                result[path][0].append(line)
    return {
        p: ("\n".join(lines).rstrip("\n") + "\n", wanted) for p, (lines, wanted) in result.items()
    }


def write(root, path, text):
    os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
        file.write(text)


def plant(root, files):
    """Writes the tree, compiles it, and leaves a compilation database as CMake would."""
    for path, (text, _) in files.items():
        write(root, path, text)
    write(root, ".clang-format", "BasedOnStyle: Google\nColumnLimit: 100\n")
    write(root, ".gitignore", "/build/\n")
    subprocess.run(["git", "init", "-q", root], check=True)
    build = os.path.join(root, "build")
    commands = []
    for path in files:
        if path.endswith(".cc") and path not in NOT_COMPILED:
            output = path.replace("/", "_") + ".o"
            command = f"g++ -std=c++20 -O1 -fPIC -I{root} -o {output} -c {root}/{path}"
            commands.append({"directory": build, "command": command, "file": f"{root}/{path}"})
    write(root, "build/compile_commands.json", json.dumps(commands))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(
            pool.map(
                lambda c: subprocess.run(shlex.split(c["command"]), cwd=build, check=True), commands
            )
        )
    return build


def main(lint):
    files = planted()
    with tempfile.TemporaryDirectory() as root:
        root = os.path.realpath(root)
        build = plant(root, files)
        options = argparse.Namespace(build=build, changed=False, all=True, tidy=False)
        findings, _ = lint(root, options)
    count = wrong = 0
    for path, (_, wanted) in files.items():
        here = [f for f in findings if f.path == path]
        for check, line in wanted:
            named = any(f.check == check and line in (0, f.line) for f in here)
            print(f"{'named ' if named else 'MISSED'}  {check:20} {path}")
            count += 1
            wrong += not named
        if not wanted and here:
            print(f"WRONGLY {here[0]}")
            wrong += 1
    print(
        f"lint: {count} violations planted in {len(files)} files; {wrong} missed or wrongly named"
    )
    return 1 if wrong else 0
