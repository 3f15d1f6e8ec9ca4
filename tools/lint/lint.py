#!/usr/bin/env python3
"""The house rules, checked. README.md says which and why; rooms.txt is the table of rooms."""

import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import includes  # noqa: E402
import outside  # noqa: E402
import rules  # noqa: E402
import selftest  # noqa: E402
import symbols  # noqa: E402
from rooms import Rooms, TableError  # noqa: E402
from tree import CODE, Finding, Tree  # noqa: E402

TEXT = CODE + (".py", ".cmake", ".proto", ".sh", "CMakeLists.txt")


def run(tree, rooms, options, notes):
    """All findings, before `lint: allow` is heeded."""
    paths = sorted(tree.changed) if options.changed else tree.files
    slow = tree.files if options.all else sorted(tree.changed)
    jobs = os.cpu_count() or 1
    code = [p for p in paths if p.endswith(CODE)]
    yield from includes.check_includes(tree, rooms, code)
    yield from includes.check_circles(tree)
    for path in code:
        yield from rules.check_source(tree, rooms, path)
    for path in paths:
        if path.endswith(TEXT):
            yield from rules.check_text(tree, path)
    yield from outside.check_folders(tree, rooms)
    yield from outside.check_format(tree, code, jobs)
    yield from outside.check_patches(tree)
    yield from includes.check_headers_alone(tree, options.build, slow, jobs)
    if os.path.exists(os.path.join(options.build, "compile_commands.json")):
        yield from symbols.check_symbols(tree, rooms, options.build, options.all, notes)
    else:
        notes.append("no symbols (no build folder)")
        if options.all:
            yield Finding(
                "tools/lint",
                1,
                "not-built",
                f"{options.build} is no build folder",
                "./dev build, then lint",
            )
    if options.tidy:
        yield from outside.check_tidy(tree, options.build, slow, jobs)


def heed_allows(tree, findings, whole):
    """Drops what `// lint: allow CHECK because REASON` covers; an idle excuse is a finding."""
    used, kept = set(), []
    allows = {
        path: tree.source(path).allows() for path in tree.code if "lint: allow" in tree.text(path)
    }
    for finding in findings:
        comment = allows.get(finding.path, {}).get(finding.check, {}).get(finding.line)
        if comment:
            used.add((finding.path, finding.check, comment))
        else:
            kept.append(finding)
    if whole:
        for path, checks in allows.items():
            for check, lines in checks.items():
                for comment in set(lines.values()):
                    if (path, check, comment) not in used and check not in ("tidy", "header-alone"):
                        kept.append(
                            Finding(
                                path,
                                comment,
                                "idle-allow",
                                f"nothing here needs 'allow {check}'",
                                "remove it",
                            )
                        )
    return kept, len(used)


def lint(root, options):
    begin = time.monotonic()
    tree = Tree(root)
    try:
        with open(os.path.join(HERE, "rooms.txt"), encoding="utf-8") as file:
            rooms = Rooms(file.read())
    except TableError as error:
        return [Finding("tools/lint/rooms.txt", 1, "table", str(error))], f"lint: {error}"
    notes = []
    found = set(run(tree, rooms, options, notes))
    whole = not options.changed and any(n.startswith("symbols") for n in notes)
    kept, excused = heed_allows(tree, sorted(found), whole)
    errors = sum(not f.warning for f in kept)
    files = len(tree.changed) if options.changed else len(tree.files)
    summary = (
        f"lint: {files} files, {', '.join(notes)}: {errors} errors, {len(kept) - errors} warnings, "
        f"{excused} excused, {time.monotonic() - begin:.1f} s"
    )
    return sorted(kept), summary


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--build", help="build folder whose objects and flags are used (default: build/release)"
    )
    parser.add_argument("--changed", action="store_true", help="only files that differ from main")
    parser.add_argument(
        "--all",
        action="store_true",
        help="also the slow checks of every file, and every source must have a fresh object",
    )
    parser.add_argument(
        "--tidy", action="store_true", help="clang-tidy too, on what changed (slow)"
    )
    parser.add_argument(
        "--selftest", action="store_true", help="plant violations and want each named"
    )
    parser.add_argument(
        "--root", default=os.path.dirname(os.path.dirname(HERE)), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    options.build = os.path.abspath(options.build or os.path.join(options.root, "build", "release"))
    if options.selftest:
        return selftest.main(lint)
    findings, summary = lint(options.root, options)
    for finding in findings:
        print(finding)
    print(summary)
    return 1 if any(not f.warning for f in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
