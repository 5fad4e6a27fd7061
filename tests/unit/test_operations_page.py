"""docs/operations.md: figures are those of the benchmark, links lead somewhere, variables and routes exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hybridsync.settings import Settings
from hybridsync.settings_masks import is_secret

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_sizes_are_those_of_the_last_benchmark() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    b8, b9 = (re.split(r"(?m)^## ", results.split(f"\n## {name}:", 1)[1])[0] for name in ("B8", "B9"))
    rows = re.findall(r"(?m)^\| ([\d,]+) \| ([\d.]+ MB) \| ([\d.]+ s) \|$", PAGE)
    assert len(rows) == 3
    for znodes, memory, seconds in rows:
        assert f"| {znodes} znodes | {memory} |" in b8
        assert f"| {znodes} znodes | {seconds} |" in b9


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_a_link_leads_somewhere(link: str) -> None:
    file, _, anchor = link.partition("#")
    target = DOCS / file if file else DOCS / "operations.md"
    assert target.is_file()
    assert not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


def test_every_variable_on_the_page_exists() -> None:
    named = {name.lower() for name in re.findall(r"\bHYBRIDSYNC_([A-Z_]+[A-Z])\b", PAGE)}
    assert named
    files = {f"{name}_file" for name, field in Settings.model_fields.items() if is_secret(field)}
    assert named <= {*Settings.model_fields, *files}
