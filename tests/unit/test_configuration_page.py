"""docs/configuration.md against the code: every variable, every profile, every example line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hybridsync.errors import ConfigurationError
from hybridsync.resource_config import OWN, known_keys
from hybridsync.resource_kinds import PARTS, SECRET_FILE_ALLOWED
from hybridsync.settings import NOT_SET, Settings, load_settings, masked
from hybridsync.settings_masks import is_secret
from hybridsync.settings_problems import allowed_of

EN_DASH = "\N{EN DASH}"
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
PROFILES = sorted(path.stem for path in (ROOT / "config").glob("*.env"))


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its two top lines."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:]]


def examples() -> list[tuple[str, list[str]]]:
    """Each command of the console block, with the lines below it."""
    block = PAGE.split("```console\n", 1)[1].split("```", 1)[0]
    found = [piece.strip().splitlines() for piece in re.split(r"^\$ ", block, flags=re.MULTILINE) if piece.strip()]
    return [(piece[0], piece[1:]) for piece in found]


def test_the_table_has_every_variable_with_its_default_what_is_allowed_and_its_meaning() -> None:
    defaults = masked(Settings())
    expected: list[list[str | None]] = []
    for name, field in Settings.model_fields.items():
        variable, default = f"HYBRIDSYNC_{name.upper()}", defaults[name]
        shown = EN_DASH if default == NOT_SET else f"`{default}`"
        expected.append([f"`{variable}`", shown, allowed_of(field), field.description])
        if is_secret(field):
            meaning = f"The file that {variable} stands in"
            expected.append([f"`{variable}_FILE`", EN_DASH, SECRET_FILE_ALLOWED, meaning])
    assert rows("Every variable") == expected


def test_the_profiles_side_by_side_are_what_the_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = ["development", "production", "high-reliability"]
    loaded = [load_settings({"HYBRIDSYNC_ENV": name}) for name in names]
    expected = [
        [
            f"`HYBRIDSYNC_{field.upper()}`",
            *(f"`{values[field]}`" for values in [masked(Settings()), *(masked(one.settings) for one in loaded)]),
        ]
        for field in Settings.model_fields
        if any(one.origins[field] != "default" for one in loaded)
    ]
    assert sorted(names) == PROFILES
    assert rows("Profiles") == expected


def test_the_table_of_resource_keys_has_every_key_and_what_is_allowed() -> None:
    expected = {f"{part}.{key}": allowed for part in PARTS for key, allowed in known_keys(part).items()}
    expected |= OWN
    assert {row[0].strip("`"): row[2].strip("`") for row in rows("Resources")} == expected


@pytest.mark.parametrize("name", PROFILES)
def test_a_shipped_profile_is_calm_about_its_own_periodic_sync(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = load_settings({"HYBRIDSYNC_ENV": name}).settings
    latest_sync = settings.periodic_sync_interval_hours * 3600 * 1.1
    assert latest_sync < settings.data_stale_threshold_seconds


@pytest.mark.parametrize("name", PROFILES)
def test_a_shipped_profile_compares_every_record_every_hour(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    loaded = load_settings({"HYBRIDSYNC_ENV": name})
    assert loaded.settings.verify_interval_hours == 1
    assert loaded.origins["verify_interval_hours"] == f"{name}.env"


def test_the_example_file_loads() -> None:
    path = str(ROOT / "config" / "resources.example.toml")
    loaded = load_settings({"HYBRIDSYNC_RESOURCES_FILE": path}, require_resources=True)
    assert list(loaded.settings.resources) == ["services", "app-config", "channels", "deployments"]
    assert loaded.origins["resources.services.source.path"] == "resources.example.toml"


@pytest.mark.parametrize(("command", "lines"), examples(), ids=lambda value: value if isinstance(value, str) else "")
def test_an_example_prints_exactly_the_lines_on_the_page(
    command: str, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    *assignments, _, verb = shlex.split(command)
    environ = dict(assignment.split("=", 1) for assignment in assignments)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, require_resources=verb == "run")
    assert [f"hybridsync: {problem}" for problem in caught.value.problems] == lines


def test_the_ways_to_write_a_resource_on_the_page_mean_the_same(tmp_path: Path) -> None:
    toml, json_line, nested = re.findall(r"```(?:toml|sh)\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "resources.toml"
    file.write_text(toml, encoding="utf-8")
    ways = [
        {"HYBRIDSYNC_RESOURCES_FILE": str(file)},
        dict(assignment.split("=", 1) for assignment in shlex.split(json_line)),
        dict(assignment.split("=", 1) for assignment in shlex.split(nested)),
    ]
    loaded = [load_settings(environ, require_resources=True).settings.resources for environ in ways]
    assert loaded[0] == loaded[1] == loaded[2]
