"""Rules that the text of one source file shows."""

import re

from tree import Finding

MAX_COLUMNS = 100
WIDTH_MATTERS = (".h", ".cc", ".c", ".py", ".proto")
MAX_LINES, LONG_FILE = 1000, 600
MAX_FUNCTION, LONG_FUNCTION = 120, 70

# Name, licence that lifts it (None: nothing does), pattern over the code, what is wrong, what to
# do instead.
PATTERNS = [
    (
        "pointer-key",
        None,
        r"\b(?:(?:multi)?(?:map|set)|(?:flat|node)_hash_(?:map|set)|btree_(?:map|set))"
        r"\s*<\s*(?:const\s+)?[\w:]+(?:<[\w:, ]*>)?"
        r"\s*(?:const\s*)?\*\s*(?:const\s*)?[,>]",
        "a container keyed by addresses has another order in each run",
        "key it by a stable id",
    ),
    (
        "std-random",
        None,
        r"\bstd::(?:\w+_distribution|shuffle|random_shuffle|sample|default_random_engine"
        r"|generate_canonical)\b",
        "results differ between standard libraries",
        "use base/random.h's RandomStream",
    ),
    (
        "coroutine",
        None,
        r"\bco_(?:await|return|yield)\b",
        "no C++20 coroutines",
        "spawn a fiber in a Scope",
    ),
    (
        "stack-array",
        None,
        r"\b(?:alloca|__builtin_alloca|strdupa)\s*\(",
        "fiber stacks are small and guarded",
        "use std::array, or a vector reserved once",
    ),
    (
        "hidden-os",
        "asm",
        r"\b(?:__rdtscp?|__builtin_ia32_rd\w+|_rd(?:rand|seed)\w*|__asm__|asm)\b|\bsyscall\s*\(",
        "this asks the machine behind the back of the symbol check",
        "use the runtime's interfaces",
    ),
    (
        "build-time",
        None,
        r"\b__(?:DATE|TIME|TIMESTAMP)__\b",
        "two builds of one commit differ",
        "leave it out",
    ),
    (
        "throw",
        "throw",
        r"\bthrow\b(?!\s*\(\s*\))",
        "errors are values",
        "return a Status; a broken invariant is VARVE_CHECK",
    ),
    (
        "assert",
        "any",
        r"(?<![\w_])assert\s*\(|#\s*if(?:n?def)?\s*\(?!?\s*(?:defined)?\s*\(?\s*NDEBUG",
        "assertions are always on",
        "use VARVE_CHECK (base/check.h)",
    ),
    (
        "float",
        "float",
        r"\b(?:double|float)\b",
        "no floating point in what decides",
        "use integers: parts per million, Duration, fixed point",
    ),
    (
        "using-namespace",
        "any",
        r"\busing\s+namespace\b",
        "imports names that nobody listed",
        "name what you use",
    ),
]
COMPILED = [
    (name, licence, re.compile(p), what, instead) for name, licence, p, what, instead in PATTERNS
]

MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# A comment that reads as a statement; prose may end in ';' too, so its shape counts.
DEAD_CODE = re.compile(
    r"^(?:return\b.*;|(?:if|for|while|switch) \(.*\) ?\{|\}? ?else \{|#include .*|\}|std::.*;"
    r"|(?:[\w:<>*&]+ )?[\w:.\->\[\]*]+ [-+*/|&]?= [^ ].*;"
    r"|[\w:.]*(?:\.|->|::)?\w+\([^ )]*(?:, [^ )]+)*\);)$"
)
DRAW = re.compile(
    r"(?:\.|->)(?:below|between|chance|unique_bytes)\s*\("
    r"|\b\w*(?:random|rng|stream|dice|draw)\w*(?:\.|->)next\s*\(",
    re.I,
)
SEPARATOR = re.compile(r"[;{}?]|&&|\|\||(?<!:):(?!:)|,\s*\w+\s*=[^=]")
UNORDERED = re.compile(
    r"\b(?:std::unordered_(?:multi)?(?:map|set)|absl::(?:flat|node)_hash_(?:map|set))\b"
)


def check_source(tree, rooms, path):
    source = tree.source(path)
    for check in (_patterns, _draws, _unordered, _strings, _comments, _functions, _switches):
        yield from check(tree, rooms, source)


def check_text(tree, path):
    """Any text file: length, width, marks."""
    lines = tree.text(path).split("\n")
    if len(lines) > MAX_LINES + 1:
        yield Finding(
            path, MAX_LINES, "file-length", f"{len(lines) - 1} lines", "split it by what it does"
        )
    elif len(lines) > LONG_FILE + 1:
        yield Finding(
            path,
            LONG_FILE,
            "file-length",
            f"{len(lines) - 1} lines",
            "split it by what it does",
            True,
        )
    for number, line in enumerate(lines, 1):
        # A URL or a path can't be broken; scripts and CMake have other habits.
        if (
            len(line) > MAX_COLUMNS
            and path.endswith(WIDTH_MATTERS)
            and not re.search(r"\S{80}", line)
        ):
            yield Finding(
                path,
                number,
                "columns",
                f"{len(line)} columns",
                f"break the line before column {MAX_COLUMNS}",
            )
        if len(line) < 400 and MARKS.search(line) and "tools/lint/" not in path:
            yield Finding(
                path,
                number,
                "mark",
                f"'{MARKS.search(line).group()}' stays for ever",
                "do it, or open an issue",
            )


def _patterns(tree, rooms, source):
    for name, licence, pattern, what, instead in COMPILED:
        if (licence and rooms.licensed(source.path, licence)) or not pattern.search(source.code):
            continue
        for number, line in enumerate(source.code_lines, 1):
            match = pattern.search(line)
            if match:
                yield Finding(
                    source.path, number, name, f"'{match.group().strip()}': {what}", instead
                )


def _draws(tree, rooms, source):
    """At most one draw per full expression: the compiler chooses the order of operands.

    `&&`, `||`, `?:` and nesting fix the order, so what they separate counts as separate.
    """
    if not DRAW.search(source.statements):
        return
    code, earlier = _end_conditions(source.statements), []
    for match in DRAW.finditer(code):
        # A draw among the arguments of another comes before it; only what stands beside it counts.
        earlier = [end for end in earlier if not SEPARATOR.search(code, end, match.start())]
        if any(end <= match.start() for end in earlier):
            yield Finding(
                source.path,
                source.line_of(match.start()),
                "two-draws",
                "two random draws in one expression: their order is the compiler's choice",
                "draw into named values first",
            )
        earlier.append(_closing(code, match.end()))


def _closing(code, at):
    """The offset after the parenthesis that closes the one before `at`."""
    depth = 1
    for match in re.finditer(r"[()]", code[at : at + 4000]):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return at + match.end()
    return len(code)


def _end_conditions(code):
    """`code` with ';' for the parenthesis that ends the condition of an if, while, for, switch."""
    ends, opened = [], []
    for match in re.finditer(r"(\b(?:if|while|for|switch)\s*(?:constexpr\s*)?)?\(|\)", code):
        if match.group() != ")":
            opened.append(match.group(1) is not None)
        elif opened and opened.pop():
            ends.append(match.start())
    letters = list(code)
    for at in ends:
        letters[at] = ";"
    return "".join(letters)


def _unordered(tree, rooms, source):
    if rooms.licensed(source.path, "unordered"):
        return
    names, types = set(), UNORDERED
    paired = source.path.rsplit(".", 1)[0] + ".h"
    for path in {source.path, paired} & tree.known:
        code = tree.source(path).statements
        aliases = re.findall(r"\busing\s+(\w+)\s*=\s*(?=" + UNORDERED.pattern + ")", code)
        types = re.compile("|".join([UNORDERED.pattern] + [rf"\b{a}\b" for a in aliases]))
        for match in types.finditer(code):
            declared = re.match(
                r"\s*[&*]?\s*(\w+)\s*[;={(,)]", code[_after_angles(code, match.end()) :]
            )
            if declared:
                names.add(declared.group(1))
    if not names:
        return
    some = "|".join(map(re.escape, names))
    loop = re.compile(
        rf"\bfor\s*\([^;]*?[^:]:[^:;]*?\b(?:{some})\s*\)|\b(?:{some})\s*(?:\.|->)c?begin\s*\("
    )
    for match in loop.finditer(source.statements):
        yield Finding(
            source.path,
            source.line_of(match.start()),
            "unordered-iteration",
            "the order of an unordered container depends on library and history",
            "use std::map, or sort the keys first",
        )


def _after_angles(code, at):
    """The offset after the template arguments that start at `at`, if any do."""
    start = re.match(r"\s*<", code[at:])
    if not start:
        return at
    depth, at = 0, at + start.end() - 1
    while at < len(code):
        depth += {"<": 1, ">": -1}.get(code[at], 0)
        at += 1
        if depth == 0:
            break
    return at


def _strings(tree, rooms, source):
    for line, text in source.strings:
        if re.search(r"(?<!%)%-?\d*p(?![a-z])", text) and not rooms.licensed(source.path, "any"):
            yield Finding(
                source.path,
                line,
                "address",
                "'%p' prints an address, which differs in each run",
                "print a stable id",
            )


def _comments(tree, rooms, source):
    for line, comment in source.comments:
        if not comment.startswith("//"):
            continue
        # An example in a comment is indented; a disabled line of code stands where code stood.
        text = comment[2:]
        if not text.startswith("  ") and DEAD_CODE.match(text.strip()):
            yield Finding(
                source.path, line, "dead-code", "code in a comment", "delete it; git remembers"
            )


def functions(source):
    """(first line, last line, head) of each function body at namespace or class scope."""
    code, stack, start, head_at = source.statements, [], None, 0
    depth = 0  # of parentheses
    for match in re.finditer(r"[{}();]", code):
        token, at = match.group(), match.start()
        if token in "()":
            depth += 1 if token == "(" else -1
        elif stack and stack[-1][0] != "scope":
            # Inside a body or an initialiser: only count braces.
            if token == "{":
                stack[-1][1] += 1
            elif token == "}":
                stack[-1][1] -= 1
                if stack[-1][1] == 0:
                    kind, _, begin, head, depth = stack.pop()
                    if kind == "function":
                        yield source.line_of(begin), source.line_of(at), head
                    head_at = at + 1
        elif token == "{":
            head = code[head_at:at]
            begin = head_at + len(head) - len(head.lstrip())
            kind = _kind(head.strip())
            stack.append([kind, 1, begin, head.strip(), depth])
            if kind == "scope":
                head_at = at + 1
        elif token == "}":
            if stack:
                stack.pop()
            head_at = at + 1
        elif depth == 0:
            head_at = at + 1


def _kind(head):
    head = re.sub(r"^(?:public|private|protected)\s*:\s*", "", head)
    bare, before = head, None
    while bare != before:
        before = bare
        bare = re.sub(r"\([^()]*\)", "@", bare)
    bare = re.sub(r"\boperator\s*\S+?(?=@)", "operator", bare)
    if re.search(
        r"\b(?:namespace|class|struct|union|enum)\b|^extern\b",
        re.sub(r"template\s*<[^{]*?>\s*", "", bare),
    ) and not (
        re.search(r"@[\s\w@>&:-]*$", bare) and not re.search(r"__attribute__\s*@|alignas\s*@", bare)
    ):
        return "scope"
    if re.search(r"(?<![=!<>])=(?!=)", bare) or "@" not in bare:
        return "initialiser"
    return "function"


def _functions(tree, rooms, source):
    excused = [l for l, c in source.comments if re.search(r"lint: long function because \S+", c)]
    for first, last, head in functions(source):
        length = last - first + 1
        if length <= LONG_FUNCTION:
            continue
        name = re.search(r"([\w:~]+)\s*\(", head)
        if any(first - 12 <= l <= first for l in excused):
            continue
        yield Finding(
            source.path,
            first,
            "function-length",
            f"{name.group(1) if name else 'function'} has {length} lines",
            "split it, or say above it '// lint: long function because …'",
            length <= MAX_FUNCTION,
        )


def _switches(tree, rooms, source):
    """Without a default the compiler finds the enumerator that a switch forgot.

    A switch over a cast is over numbers that somebody else may extend; there a default is right.
    """
    code = source.statements
    for match in re.finditer(r"\bswitch\s*\(", code):
        opening = code.find("{", match.end())
        if code[match.end() : opening].lstrip().startswith("static_cast"):
            continue
        depth, at, labels, fallback = 0, opening, [], None
        for token in re.finditer(
            r"[{}]|\bcase\s+([^;{}]*?[^:]):(?!:)|\bdefault\s*:", code[opening:]
        ):
            word = token.group()
            if word == "{":
                depth += 1
            elif word == "}":
                depth -= 1
                if depth == 0:
                    break
            elif depth == 1 and word.startswith("case"):
                labels.append(token.group(1).strip())
            elif depth == 1:
                fallback = opening + token.start()
        if (
            fallback
            and labels
            and all(re.fullmatch(r"(?:\w+::)*[A-Z]\w*::k[A-Z]\w*", l) for l in labels)
        ):
            yield Finding(
                source.path,
                source.line_of(fallback),
                "switch-default",
                "a default hides the enumerator that somebody will add",
                "name each enumerator",
                True,
            )
