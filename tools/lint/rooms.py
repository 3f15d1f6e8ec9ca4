"""rooms.txt: which room a file is in, what it may include, what it may ask of the machine."""

import dataclasses
import fnmatch
import functools
import re

LICENCES = {"globals", "float", "throw", "asm", "unordered", "any"}


class TableError(Exception):
    """rooms.txt itself is wrong."""


@dataclasses.dataclass
class Row:
    folder: str
    rooms: list
    grants: list
    line: int


class Group:
    """Headers and symbols that belong together."""

    def __init__(self, name):
        self.name = name
        self.headers = []
        self.symbols = []
        self.instead = ""

    @functools.cached_property
    def pattern(self):
        return _pattern(self.symbols)

    def has_header(self, name):
        return any(fnmatch.fnmatchcase(f"<{name}>", p) for p in self.headers)


def _pattern(globs):
    """One regular expression for globs, where ? stands for a space (operators have some)."""
    escaped = [re.escape(g).replace(r"\*", ".*").replace(r"\?", " ?") for g in globs]
    return re.compile("(?:" + "|".join(escaped or ["(?!)"]) + r")(?:\(.*|\[abi:.*|@.*)?$", re.S)


class Rooms:
    def __init__(self, text):
        self.rows = {}
        self.groups = {}
        group = None
        for number, line in enumerate(text.split("\n"), 1):
            line = line.split("#", 1)[0].rstrip()
            if not line:
                continue
            words = line.split()
            if "|" in line:
                folder, rooms, grants = (part.strip() for part in line.split("|"))
                self.rows[folder] = Row(folder, rooms.split(), grants.split(), number)
            elif words[0] == "group" and len(words) == 2:
                group = self.groups.setdefault(words[1], Group(words[1]))
            elif group and words[0] in ("headers", "symbols"):
                getattr(group, words[0]).extend(words[1:])
            elif group and words[0] == "instead":
                group.instead = line.strip()[len("instead ") :]
            else:
                raise TableError(f"line {number}: neither a room nor a group: {line.strip()}")
        self._check()

    def _check(self):
        for row in self.rows.values():
            for room in row.rooms:
                if room != "*" and room.lstrip("-") not in self.rows:
                    raise TableError(f"line {row.line}: there is no room '{room}'")
        cycle = self._cycle()
        if cycle:
            raise TableError("rooms include each other in a circle: " + " -> ".join(cycle))

    def _cycle(self):
        """A circle among rooms; those that may include all (`*`) are leaves: nobody may back."""
        done, path = set(), []

        def visit(name):
            if name in path:
                return path[path.index(name) :] + [name]
            if name in done or "*" in name:
                return None
            path.append(name)
            for room in self.rows[name].rooms:
                found = visit(room) if room in self.rows else None
                if found:
                    return found
            done.add(path.pop())
            return None

        for name in self.rows:
            found = visit(name)
            if found:
                return found
        return None

    @functools.lru_cache(maxsize=None)
    def room(self, path):
        """The row whose folder (or file, for a row like `storage/key`) is the longest prefix."""
        best = None
        for folder, row in self.rows.items():
            inside = path.startswith((folder + "/", folder + ".", folder + "_test."))
            if inside and (best is None or len(folder) > len(best.folder)):
                best = row
        return best

    @functools.lru_cache(maxsize=None)
    def _test_row(self, path):
        for folder, row in self.rows.items():
            if "*" in folder and fnmatch.fnmatchcase(path, folder):
                return row
        return None

    def is_test(self, path):
        return self._test_row(path) is not None

    @functools.lru_cache(maxsize=None)
    def grants(self, path):
        rows = [r for r in (self.room(path), self._test_row(path)) if r]
        return frozenset(["plain"] + [g for row in rows for g in row.grants])

    def licensed(self, path, licence):
        return not {licence, "any"}.isdisjoint(self.grants(path))

    @functools.lru_cache(maxsize=None)
    def reachable(self, path):
        """Names of the rooms that `path` may include."""
        rows = [r for r in (self.room(path), self._test_row(path)) if r]
        names = {self.room(path).folder} if self.room(path) else set()
        for row in rows:
            for room in row.rooms:
                if room == "*":
                    names.update(self.rows)
                elif room.startswith("-"):
                    names.discard(room[1:])
                else:
                    names.add(room)
        if self.is_test(path):
            # A test may put together what its component puts together.
            top = self.rows.get(path.split("/")[0])
            names.update(top.rooms if top else [])
            names.update(name for name in self.rows if top and name.startswith(top.folder + "/"))
        return frozenset(names)

    @functools.lru_cache(maxsize=None)
    def linked(self, folder):
        """The rooms that code of `folder` can end up calling: what it may include, and so on."""
        todo, seen = [folder], set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            todo += [r for r in self.rows[name].rooms if r in self.rows]
            if "*" in self.rows[name].rooms:
                return frozenset(self.rows)
        return frozenset(seen)

    @functools.lru_cache(maxsize=None)
    def groups_of_header(self, name):
        return [g for g in self.groups.values() if g.has_header(name)]

    @functools.lru_cache(maxsize=None)
    def groups_of_symbol(self, name):
        return [g for g in self.groups.values() if g.symbols != ["*"] and g.pattern.match(name)]

    def may_import(self, path, symbol):
        grants = self.grants(path)
        if "any" in grants:
            return True
        if any(
            g.name in grants for g in self.groups.values() if g.symbols and g.pattern.match(symbol)
        ):
            return True
        return symbol.split("(")[0] in grants
