"""Which paths a pattern leaves out, and which patterns are refused."""

from __future__ import annotations

import fnmatch
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.errors import ConfigurationError
from hybridsync.sources.exclude import Exclude

CASES = [
    ("/a", ["/a", "/a/b", "/a/b/c"], ["/", "/ab", "/b", "/b/a"]),
    ("/services/tmp/**", ["/services/tmp/x", "/services/tmp/x/y"], ["/services", "/services/tmp", "/services/tmpx"]),
    ("/services/tmp", ["/services/tmp", "/services/tmp/x"], ["/services", "/services/tmpx"]),
    ("/a/*/c", ["/a/b/c", "/a/b/c/d", "/a/ /c"], ["/a/c", "/a/b", "/a/b/x/c", "/a/b/cc"]),
    ("/a/*", ["/a/b", "/a/b/c"], ["/a", "/ab"]),
    ("/**/tmp", ["/tmp", "/a/tmp", "/a/b/tmp/c"], ["/a", "/tmpx", "/a/xtmp"]),
    ("/a/**/z", ["/a/z", "/a/b/z", "/a/b/c/z/y"], ["/a", "/a/b", "/z"]),
    ("/**", ["/a", "/a/b"], ["/"]),
    ("/*", ["/a", "/a/b"], ["/"]),
    ("/a/**/**", ["/a/b"], ["/a"]),
    ("/a/**/*", ["/a/b", "/a/b/c"], ["/a"]),
    ("/lock-?", ["/lock-1", "/lock-1/x"], ["/lock-", "/lock-12", "/lock-/x"]),
    ("/[ab]x", ["/ax", "/bx/y"], ["/cx", "/x", "/]x"]),
    ("/[!ab]x", ["/cx"], ["/ax", "/x"]),
    ("/n[0-9]", ["/n7"], ["/n", "/na", "/n77"]),
    ("/[]]", ["/]"], ["/a", "/[]]"]),
    ("/a[b", ["/a[b"], ["/ab"]),
    ("/[a\\]z", ["/az", "/\\z"], ["/]z"]),
    ("/a.b$(c)", ["/a.b$(c)", "/a.b$(c)/d"], ["/axb$(c)"]),
    ("/line\nbreak", ["/line\nbreak/x\ny"], ["/line"]),
    ("/a**b", ["/ab", "/axxb"], ["/a/b"]),
    ("/ü*", ["/über"], ["/uber"]),
]


@pytest.mark.parametrize(("pattern", "out", "kept"), CASES, ids=[case[0] for case in CASES])
def test_a_pattern_leaves_out_what_it_says(pattern: str, out: list[str], kept: list[str]) -> None:
    exclude = Exclude([pattern])
    assert [path for path in out if not exclude.excluded(path)] == []
    assert [path for path in kept if exclude.excluded(path)] == []


def test_without_patterns_nothing_is_left_out() -> None:
    exclude = Exclude([])
    assert not exclude
    assert not exclude.excluded("/a")
    assert not exclude.nothing_below("/a")


def test_several_patterns_add_up() -> None:
    exclude = Exclude(["/a/**", "/b"])
    assert exclude
    assert exclude.excluded("/a/x")
    assert exclude.excluded("/b")
    assert not exclude.excluded("/a")


@pytest.mark.parametrize(
    ("pattern", "barren", "fertile"),
    [
        ("/a/**", ["/a"], ["/", "/b", "/a/x"]),
        ("/a/*", ["/a"], ["/", "/b"]),
        ("/*", ["/"], ["/a"]),
        ("/**", ["/"], []),
        ("/x/*/**", ["/x/a"], ["/x", "/x/a/b"]),
        ("/**/tmp/*", ["/tmp", "/a/tmp"], ["/a"]),
        ("/a/b*", [], ["/a"]),
    ],
)
def test_a_parent_whose_children_are_all_left_out_is_known(pattern: str, barren: list[str], fertile: list[str]) -> None:
    exclude = Exclude([pattern])
    assert [path for path in barren if not exclude.nothing_below(path)] == []
    assert [path for path in fertile if exclude.nothing_below(path)] == []


@pytest.mark.parametrize("pattern", ["", "/", "a", "a/b", "/a/", "//a", "/a//b", "**", "/[z-a]"])
def test_a_pattern_that_cannot_be_meant_is_refused_and_named(pattern: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Exclude([pattern])
    assert repr(pattern) in str(refused.value)
    assert "\n" not in str(refused.value)


NAMES = st.text(alphabet="ab*?[]!-x.", min_size=1, max_size=6)


@given(NAMES.filter(lambda glob: "**" not in glob and "[!]" not in glob), NAMES)
def test_one_component_is_read_as_fnmatch_reads_it(glob: str, name: str) -> None:
    try:
        exclude = Exclude([f"/{glob}"])
    except ConfigurationError:
        return  # a range that runs backwards, which fnmatch takes for nothing
    assert exclude.excluded(f"/{name}") == fnmatch.fnmatchcase(name, glob)


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, min_size=1, max_size=4))
def test_what_is_below_something_left_out_is_left_out_too(pattern: list[str], path: list[str]) -> None:
    try:
        exclude = Exclude(["/" + "/".join(pattern)])
    except ConfigurationError:
        return
    parents = ["/" + "/".join(path[:length]) for length in range(1, len(path) + 1)]
    verdicts = [exclude.excluded(parent) for parent in parents]
    assert verdicts == sorted(verdicts)
    for parent, child in pairwise(parents):
        if exclude.nothing_below(parent):
            assert exclude.excluded(child)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "path", "more"),
    [
        ("/a*b*c*d*e*f", "/" + "abcde" * 2_000, "f"),
        ("/**/a*b*c*d*e*f", "/a" * 500 + "/" + "abcde" * 500, "f"),
        ("/**/a/**/b/**/c/**/d/**/e", "/a/b/c/d" * 500, "/e"),
    ],
    ids=["in a name", "in a name anywhere", "in a path"],
)
def test_many_stars_and_a_long_name_are_looked_at_once(pattern: str, path: str, more: str) -> None:
    """Each place for each star would be tried with each place for every other: for longer than anybody waits."""
    assert not Exclude([pattern]).excluded(path)
    assert Exclude([pattern]).excluded(path + more)
    assert Exclude([pattern]).excluded(path + more + "/below")
