"""The files of a repository as the checks see them, and what a check says about them."""

import dataclasses
import functools
import os
import re
import subprocess

CODE = (".h", ".cc", ".c")
# Comments and literals of C and C++; a ' after a digit separates thousands.
TOKEN = re.compile(
    r'//(?:\\\n|[^\n])*|/\*.*?\*/|R"(?P<mark>[^(\s"]*)\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])*\'',
    re.S,
)
ALLOW = re.compile(r"lint: allow ([\w-]+) because \S+")


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    check: str
    message: str
    instead: str = ""
    warning: bool = False

    def __str__(self):
        kind = "warning: " if self.warning else ""
        advice = f" — {self.instead}" if self.instead else ""
        return f"{self.path}:{self.line}: {self.check}: {kind}{self.message}{advice}"


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


class Source:
    """One C or C++ file: text, code (comments and literals blanked), comments, literals."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.comments = []  # (line, text)
        self.strings = []  # (line, text)
        pieces, at, line = [], 0, 1
        for match in TOKEN.finditer(text):
            token = match.group()
            line += text.count("\n", at, match.start())
            pieces.append(text[at : match.start()])
            if token.startswith(("//", "/*")):
                self.comments.append((line, token))
                pieces.append(_blank(token))
            else:
                self.strings.append((line, token))
                pieces.append(token[0] + _blank(token[1:-1]) + token[-1])
            line += token.count("\n")
            at = match.end()
        pieces.append(text[at:])
        self.code = "".join(pieces)
        # Directives out of the way too, for whoever counts braces and statements.
        self.statements = re.sub(
            r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: _blank(m.group()), self.code, flags=re.M
        )
        self.code_lines = self.code.split("\n")

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def includes(self):
        """(line, name, quoted) of each #include."""
        for match in re.finditer(
            r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', self.text, re.M
        ):
            if self.code_lines[self.line_of(match.start()) - 1].strip():
                yield self.line_of(match.start(1)), match.group(2), match.group(1) == '"'

    def allows(self):
        """{check: {line: line of the comment}}: an excuse covers its line and the next of code."""
        result = {}
        for line, comment in self.comments:
            for match in ALLOW.finditer(comment):
                covered = result.setdefault(match.group(1), {})
                covered[line] = line
                following = line
                while following < len(self.code_lines) and not self.code_lines[following].strip():
                    following += 1
                covered[following + 1] = line
        return result


class Tree:
    """What git tracks below `root`, and what it would (untracked, not ignored), read once."""

    def __init__(self, root):
        self.root = os.path.abspath(root)
        listed = self.git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
        self.files = sorted(p for p in set(listed) if os.path.isfile(os.path.join(self.root, p)))
        self.known = set(self.files)

    def git(self, *arguments, check=True):
        done = subprocess.run(
            ["git", "-C", self.root, *arguments], capture_output=True, text=True, check=check
        )
        return done.stdout

    @functools.lru_cache(maxsize=None)
    def text(self, path):
        with open(os.path.join(self.root, path), "rb") as file:
            return file.read().decode("utf-8", "replace")

    @functools.lru_cache(maxsize=None)
    def source(self, path):
        return Source(path, self.text(path))

    @functools.cached_property
    def code(self):
        return [p for p in self.files if p.endswith(CODE)]

    @functools.cached_property
    def changed(self):
        """Files that differ from where this branch left main; on main, from the commit before."""
        head = self.git("rev-parse", "HEAD", check=False).strip()
        base = ""
        for name in ("origin/main", "main"):
            base = self.git("merge-base", "HEAD", name, check=False).strip()
            if base and base != head:
                break
        if not base or base == head:
            base = self.git("rev-parse", "--verify", "-q", "HEAD~1", check=False).strip()
        if not base:
            return self.known
        names = self.git("diff", "--name-only", base).splitlines()
        names += self.git("ls-files", "--others", "--exclude-standard").splitlines()
        return set(names) & self.known
