"""Checks that other programs make (clang-format, clang-tidy, git), and what a room must hold."""

import concurrent.futures
import os
import re
import shutil
import subprocess

from includes import compile_commands
from tree import Finding

NO_THEORY = ("fuzz", "bench", "tests", "tools")  # their files say what they are for, one by one


def check_format(tree, paths, jobs):
    paths = [p for p in paths if p.endswith((".h", ".cc", ".c"))]
    if not shutil.which("clang-format"):
        yield Finding("tools/lint", 1, "format", "clang-format is not installed", "./dev packages")
        return
    size = max(1, -(-len(paths) // (jobs * 2)))
    batches = [paths[i : i + size] for i in range(0, len(paths), size)]

    def run(batch):
        done = subprocess.run(
            ["clang-format", "--dry-run", "--ferror-limit=0", *batch],
            capture_output=True,
            text=True,
            cwd=tree.root,
            check=False,
        )
        return re.findall(
            r"^(\S+?):(\d+):\d+: warning: code should be clang-formatted", done.stderr, re.M
        )

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(run, batches):
            places = {}
            for path, line in found:
                places.setdefault(path, []).append(int(line))
            for path, lines in places.items():
                yield Finding(
                    path,
                    lines[0],
                    "format",
                    f"{len(lines)} places differ from clang-format",
                    f"clang-format -i {path}",
                )


def check_tidy(tree, build, paths, jobs):
    known = {
        os.path.relpath(os.path.join(e["directory"], e["file"]), tree.root)
        for e in compile_commands(build)
    }
    paths = [p for p in paths if p in known and p.endswith(".cc")]
    tool = shutil.which("clang-tidy-16") or shutil.which("clang-tidy")
    if not tool:
        yield Finding("tools/lint", 1, "tidy", "clang-tidy-16 is not installed", "./dev packages")
        return

    def run(path):
        done = subprocess.run(
            [tool, "-p", build, "--quiet", "--extra-arg=-Wno-everything", path],
            capture_output=True,
            text=True,
            cwd=tree.root,
            check=False,
        )
        return re.findall(
            r"^(/\S+?):(\d+):\d+: (?:warning|error): (.*?) \[([^\]]+)\]$", done.stdout, re.M
        )

    seen = set()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(run, paths):
            for path, line, message, check in found:
                place = (os.path.relpath(path, tree.root), int(line), check)
                if place not in seen and not place[0].startswith(".."):
                    seen.add(place)
                    yield Finding(place[0], place[1], "tidy", f"{message} [{check}]", "fix it")


def check_patches(tree):
    """A mutant that no longer applies tests nothing."""
    for path in tree.files:
        if path.startswith("scenarios/mutants/") and path.endswith(".patch"):
            done = subprocess.run(
                ["git", "-C", tree.root, "apply", "--check", path], capture_output=True, text=True
            )
            if done.returncode:
                reason = done.stderr.strip().split("\n")[0]
                yield Finding(
                    path,
                    1,
                    "mutant",
                    f"does not apply: {reason}",
                    "make the patch again from today's source",
                )


def check_folders(tree, rooms):
    """Each room explains itself."""
    for folder in rooms.rows:
        inside = [p for p in tree.code if p.startswith(folder + "/")]
        top = "/" not in folder and folder not in NO_THEORY
        if inside and top and folder + "/README.md" not in tree.known:
            yield Finding(
                inside[0],
                1,
                "readme",
                f"{folder}/ has no README.md",
                "write its theory, invariants, crash argument and what was rejected",
            )
