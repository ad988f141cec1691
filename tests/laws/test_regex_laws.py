"""Every regular expression of ours takes a number of steps that grows with its text, not with a power of it.

Three shapes make it more, and are looked for in the parsed expressions:
nested: a repetition inside another that can begin anew where the inner one could have gone on (exponential);
adjacent: two repetitions of the same characters with nothing between them (quadratic);
restarts: one that is searched for in a text, can begin again inside its own repetition, and needs something behind it.
"""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]  # the parser of `re` has no public name
from re import _parser as parser  # type: ignore[attr-defined]  # the same
from typing import Any, NamedTuple

import pytest

import trimtab
import trimtab_stages

MANY = 200
"""Repetitions from which on one counts as without a limit."""
ONCE = frozenset(("match", "fullmatch"))
TAKES_ANY = {
    ("trimtab.offline.masks", "_SHAPES"): "`explain` reads a file of its user",
    ("trimtab.endpoints", "_DOUBLED"): "addresses of upstreams out of pipelines.toml",
    ("trimtab.endpoints", "_VERSION"): "the same",
    ("trimtab.endpoints", "_LAST"): "the same",
    ("trimtab.check", "_USERINFO"): "the same",
    ("trimtab.offline.masks", "_USERINFO"): "`explain` reads a file of its user",
    ("trimtab.offline.masks", "_SENT"): "the same",
    ("trimtab.offline.masks", "_NAMED"): "the same",
}
"""Those that no request and no upstream reaches."""
NOT_AGAIN = {
    (
        "trimtab.dialects.edits",
        "_NAMED",
    ): "inside its string each quote stands behind a backslash, in its name none does",
    ("trimtab.dialects.chat_decode", "_TEXT"): "the same",
    ("trimtab.gauge", "_SAID"): "the same",
    ("trimtab.splice", "_MARK"): "it goes through valid JSON, in which each string has its end",
}
"""Those that begin with characters of their own repetition, and yet cannot begin inside it."""
TABLES = {("trimtab.words", "cut"): "_CUTS"}
"""Variables that are compiled, and the tables of ours whose values they have; they see 8,000 characters at most."""
ALL = frozenset(range(257))
"""The characters up to 255, and one for all above."""
_CATEGORIES = {
    code.CATEGORY_DIGIT: r"\d", code.CATEGORY_NOT_DIGIT: r"\D", code.CATEGORY_SPACE: r"\s",
    code.CATEGORY_NOT_SPACE: r"\S", code.CATEGORY_WORD: r"\w", code.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
Chars = frozenset[int]


class First(NamedTuple):
    """What may stand first in a part, and whether the part may be empty."""

    chars: Chars
    empty: bool


class Shape:
    """One parsed expression."""

    def __init__(self, pattern: str | bytes, flags: int = 0) -> None:
        tree = parser.parse(pattern, flags)
        self._flags = tree.state.flags
        self.tree = list(tree)
        self.found: set[str] = set()
        self._walk(self.tree, First(frozenset(), empty=True))
        first = self.first(self.tree)
        for chars, behind in self._open(self.tree, First(frozenset(), empty=True)):
            if chars & first.chars and not behind.empty and not self._anchored(chars):
                self.found.add("restarts")

    def _anchored(self, chars: Chars) -> bool:
        """Whether it begins at line starts only, and no line ends inside the repetition."""
        head = self.tree[0] if self.tree else None
        if head is None or head[0] is not code.AT:
            return False
        lines = self._flags & re.MULTILINE and head[1] is code.AT_BEGINNING
        return head[1] in (code.AT_BEGINNING, code.AT_BEGINNING_STRING) and not (lines and ord("\n") in chars)

    def first(self, nodes: list[Any]) -> First:
        """Of parts in a row."""
        chars: Chars = frozenset()
        for node in nodes:
            one = self._first(node)
            chars |= one.chars
            if not one.empty:
                return First(chars, empty=False)
        return First(chars, empty=True)

    def _first(self, node: Any) -> First:
        kind, value = node
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            inner = self.first(list(value[2]))
            return First(inner.chars, inner.empty or value[0] == 0)
        if kind is code.SUBPATTERN:
            return self.first(list(value[3]))
        if kind is code.ATOMIC_GROUP:
            return self.first(list(value))
        if kind is code.BRANCH:
            every = [self.first(list(branch)) for branch in value[1]]
            return First(frozenset().union(*[one.chars for one in every]), any(one.empty for one in every))
        if kind in (code.AT, code.ASSERT, code.ASSERT_NOT):
            return First(frozenset(), empty=True)
        if kind is code.GROUPREF:
            return First(ALL, empty=True)
        return First(self._chars(node), empty=False)

    def _chars(self, node: Any) -> Chars:
        """Of a part that is one character."""
        kind, value = node
        if kind is code.ANY:
            return ALL if self._flags & re.DOTALL else ALL - {ord("\n")}
        if kind is code.LITERAL:
            return self._cased(frozenset((min(value, 256),)))
        if kind is code.NOT_LITERAL:
            return ALL - {min(value, 256)} | {256}
        if kind is code.RANGE:
            return self._cased(frozenset(range(min(value[0], 256), min(value[1], 256) + 1)))
        if kind is code.CATEGORY:
            above = frozenset() if value in (code.CATEGORY_DIGIT, code.CATEGORY_SPACE) else frozenset((256,))
            return frozenset(n for n in range(256) if re.match(_CATEGORIES[value], chr(n))) | above
        assert kind is code.IN, kind
        inner = frozenset().union(*[self._chars(item) for item in value if item[0] is not code.NEGATE])
        return (ALL - inner) | {256} if value[0][0] is code.NEGATE else inner

    def _cased(self, chars: Chars) -> Chars:
        if not self._flags & re.IGNORECASE:
            return chars
        return frozenset(
            ord(c) for n in chars if n < 256 for c in (chr(n).lower(), chr(n).upper()) if len(c) == 1 and ord(c) < 256
        ) | (chars & {256})

    def reach(self, nodes: list[Any]) -> Chars:
        """All characters that may stand anywhere in some parts."""
        chars: Chars = frozenset()
        for kind, value in nodes:
            if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
                chars |= self.reach(list(value[2]))
            elif kind is code.SUBPATTERN:
                chars |= self.reach(list(value[3]))
            elif kind is code.ATOMIC_GROUP:
                chars |= self.reach(list(value))
            elif kind is code.BRANCH:
                chars = chars.union(*[self.reach(list(branch)) for branch in value[1]])
            elif kind not in (code.AT, code.ASSERT, code.ASSERT_NOT):
                chars |= self._first((kind, value)).chars
        return chars

    def _open(self, nodes: list[Any], behind: First) -> Iterator[tuple[Chars, First]]:
        """Each repetition without a limit: the characters in it, and what stands behind it."""
        for at, (kind, value) in enumerate(nodes):
            rest = self._then(nodes[at + 1 :], behind)
            if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
                if value[1] >= MANY:
                    yield self.reach(list(value[2])), rest
                yield from self._open(list(value[2]), rest)
            elif kind is code.SUBPATTERN:
                yield from self._open(list(value[3]), rest)
            elif kind is code.BRANCH:
                for branch in value[1]:
                    yield from self._open(list(branch), rest)

    def _then(self, nodes: list[Any], behind: First) -> First:
        one = self.first(nodes)
        return First(one.chars | behind.chars, behind.empty) if one.empty else one

    def _walk(self, nodes: list[Any], behind: First) -> None:
        """Look for what is nested or adjacent; `behind` may follow, or begin anew."""
        for at, (kind, value) in enumerate(nodes):
            rest = self._then(nodes[at + 1 :], behind)
            if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
                body = list(value[2])
                if value[1] >= MANY:
                    again = self.first(body)
                    for chars, follows in self._open(body, First(again.chars, empty=True)):
                        if chars & follows.chars:
                            self.found.add("nested")
                    self._adjacent(body, nodes[at + 1 :])
                self._walk(body, rest)
            elif kind is code.SUBPATTERN:
                self._walk(list(value[3]), rest)
            elif kind is code.BRANCH:
                for branch in value[1]:
                    self._walk(list(branch), rest)

    def _adjacent(self, body: list[Any], others: list[Any]) -> None:
        chars = self.reach(body)
        for kind, value in others:
            repeats = kind in (code.MAX_REPEAT, code.MIN_REPEAT) and value[1] >= MANY
            if repeats and chars & self.first(list(value[2])).chars:
                self.found.add("adjacent")
            if not self._first((kind, value)).empty:
                return


def modules() -> Iterator[Any]:
    for package in (trimtab, trimtab_stages):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


def inside(value: Any) -> Iterator[re.Pattern[Any]]:
    """The expressions in a value of a module."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from inside(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from inside(inner)


def patterns() -> dict[tuple[str, str], list[re.Pattern[Any]]]:
    """Those that modules hold, by module and name."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern | dict | tuple | list) and (held := list(inside(value))):
                found[module.__name__, name] = held
    return found


def trees() -> dict[str, ast.Module]:
    return {module.__name__: ast.parse(Path(module.__file__).read_text()) for module in modules()}


def searched(tree: ast.Module, name: str) -> bool:
    """Whether an expression of a module is used otherwise than at one place of a text."""
    uses = {
        node.attr: True
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }
    return not uses or not uses.keys() <= ONCE


def test_those_of_the_modules_are_linear() -> None:
    trees_of, wrong = trees(), []
    everything = patterns()
    assert len(everything) > 60
    for (module, name), held in everything.items():
        if (module, name) in TAKES_ANY:
            continue
        for pattern in held:
            found = Shape(pattern.pattern, pattern.flags & ~re.UNICODE).found
            if not searched(trees_of[module], name) or (module, name) in NOT_AGAIN:
                found.discard("restarts")
            wrong += [f"{module}.{name}: {word}: {pattern.pattern!r}" for word in sorted(found)]
    assert wrong == []


def test_those_inside_functions_are_linear_and_no_text_of_others() -> None:
    """What is put into one is escaped."""
    wrong = []
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.args
            ):
                continue
            given = node.args[0]
            if node.func.attr == "escape" or (isinstance(given, ast.Constant) and node.func.attr == "compile"):
                continue
            if isinstance(given, ast.Constant):
                found = Shape(str(given.value)).found - ({"restarts"} if node.func.attr in ONCE else set())
                wrong += [f"{module}: {word}: {given.value!r}" for word in found]
            else:
                table = TABLES.get((module, ast.unparse(given)))
                wrong += [] if table or plain(given) else [f"{module}: {ast.unparse(given)}"]
                for text in getattr(sys.modules[module], table).values() if table else ():
                    wrong += [f"{module}: {text!r}"] if "nested" in Shape(text).found else []
    assert wrong == []


def plain(node: ast.expr) -> bool:
    """Whether an expression is put together of constants of ours and of what is escaped."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id.isupper()
    if isinstance(node, ast.BinOp):
        return plain(node.left) and plain(node.right)
    if isinstance(node, ast.JoinedStr):
        return all(plain(value.value if isinstance(value, ast.FormattedValue) else value) for value in node.values)
    return ast.unparse(node) == "_VERSION.pattern" or "re.escape" in ast.unparse(node)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"(a+)+b", {"nested", "restarts"}),
        (r"(?:a|a*)*b", {"nested", "restarts"}),
        (r"(\w+\s?)*$", {"nested"}),
        (r"^(\w+\s)*$", set()),
        (r"\s*\s*=", {"adjacent", "restarts"}),
        (r"<a>.*?</a>", {"restarts"}),
        (r"<a>[^<]*</a>", set()),
        (r"^.*error", set()),
        (r"(?s)^.*error", set()),
        (r"(?ms)^.*error", {"restarts"}),
        (r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', set()),
        (r'"[^"\\]*(?:\\.[^"\\]*)*"', {"restarts"}),
        (r"(?>a+)+b", {"restarts"}),
        (r"a{1,100}b", set()),
    ],
)
def test_the_shapes_are_found(pattern: str, found: set[str]) -> None:
    assert Shape(pattern).found == found
