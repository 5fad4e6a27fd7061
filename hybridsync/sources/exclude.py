"""Which znodes are left out: globs on absolute paths, compiled into one regular expression.

`*` and `?` stay within one component, `[...]` is one character of a component, `**` is any number
of components. What matches is left out with everything below it. At the end of a pattern `**` stands
for at least one component: `/services/tmp/**` keeps `/services/tmp` and leaves out all beneath it.

What stands between two `*`, or two `**`, is taken where it is found first and never looked for again (atomic
groups): a later place could not help what follows, and trying them all would take a name of a
thousand characters minutes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hybridsync.errors import ConfigurationError

_ANY_COMPONENTS = r"(?:/[^/]+)*"
_AND_BELOW = r"(?:/.*)?"
_END_OF_COMPONENT = r"(?=/|\Z)"


class Exclude:
    """The compiled patterns. Raises `ConfigurationError` for a pattern that cannot be meant."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._excluded = _one_of([_excluding(_components(pattern), pattern) for pattern in patterns])
        self._barren = _one_of(
            [_joined(components[:-1]) for components in map(_components, patterns) if components[-1] in ("*", "**")]
        )

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return self._excluded is not None

    def excluded(self, path: str) -> bool:
        """Whether the znode, or one above it, matches a pattern."""
        return self._excluded is not None and self._excluded.fullmatch(path) is not None

    def nothing_below(self, path: str) -> bool:
        """Whether every child of `path` is left out whatever its name, so that listing it is in vain.

        Decided for patterns that end in `/*` or `/**`; `False` otherwise.
        """
        return self._barren is not None and self._barren.fullmatch("" if path == "/" else path) is not None


def matcher(pattern: str) -> str:
    """The expression for exactly what a pattern matches, without what is below it; compile it with `re.DOTALL`.

    Raises `ConfigurationError` for a pattern that cannot be meant.
    """
    components = _components(pattern)
    below_only = components[-1] == "**"
    return _checked(_joined(components[:-1]) + r"/[^/].*" if below_only else _joined(components), pattern)


def _one_of(expressions: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{one})" for one in expressions), re.DOTALL) if expressions else None


def _components(pattern: str) -> list[str]:
    """The components of a pattern, with `**/**` made one."""
    components = pattern.split("/")
    if components[0] or len(components) < 2 or "" in components[1:]:
        raise ConfigurationError(
            f"exclude pattern {pattern!r}: allowed is an absolute path such as /services/tmp/**, "
            "without a slash at its end"
        )
    kept: list[str] = []
    for component in components[1:]:
        if component != "**" or kept[-1:] != ["**"]:
            kept.append(component)
    return kept


def _excluding(components: Sequence[str], pattern: str) -> str:
    """The expression for what a pattern leaves out."""
    below_only = components[-1] == "**"
    expression = _joined(components[:-1]) + r"/[^/].*" if below_only else _joined(components) + _AND_BELOW
    return _checked(expression, pattern)


def _checked(expression: str, pattern: str) -> str:
    try:
        re.compile(expression)
    except re.error as error:
        raise ConfigurationError(f"exclude pattern {pattern!r} cannot be understood: {error.msg}") from None
    return expression


def _joined(components: Sequence[str]) -> str:
    groups: list[str] = [""]
    for one in components:
        if one == "**":
            groups.append("")
        else:
            groups[-1] += "/(?=[^/])" + _component(one)
    first, *middle = groups
    if not middle:
        return first
    found_first = "".join(f"(?>{_ANY_COMPONENTS}?{group}{_END_OF_COMPONENT})" for group in middle[:-1])
    return first + found_first + _ANY_COMPONENTS + middle[-1]


def _component(glob: str) -> str:
    """The expression for one component, as `fnmatch` reads it, except that nothing matches a slash."""
    parts: list[str] = [""]
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            if parts[-1] or len(parts) == 1:
                parts.append("")
        elif character == "?":
            parts[-1] += "[^/]"
        elif character == "[" and (end := glob.find("]", position + 1 + (glob[position : position + 1] == "!"))) > 0:
            parts[-1] += _set(glob[position:end])
            position = end + 1
        else:
            parts[-1] += re.escape(character)
    first, *rest = parts
    return first + "".join(f"(?>[^/]*?{part})" for part in rest[:-1]) + (f"[^/]*{rest[-1]}" if rest else "")


def _set(inside: str) -> str:
    """The expression for `[inside]`; `-` between two characters is a range, `!` in front negates."""
    negated = inside.startswith("!")
    characters = re.sub(r"([^\w-])", r"\\\1", inside[1:] if negated else inside)
    return f"(?!/)[{'^' if negated else ''}{characters}]"
