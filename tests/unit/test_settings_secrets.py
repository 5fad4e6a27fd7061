"""Secrets that stand in files: `NAME_FILE` beside every secret `NAME`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from hybridsync.errors import ConfigurationError
from hybridsync.resource_kinds import PARTS, SECRETS
from hybridsync.settings import LoadedSettings, Settings, load_settings, masked
from hybridsync.settings_masks import is_secret

MARK = "hunter2hunter2"
SECRET_SETTINGS = [name for name, field in Settings.model_fields.items() if is_secret(field)]
GOOD = {
    "mongodb_uri": f"mongodb://me:{MARK}@h/x",
    "zookeeper_auth": f"digest:me:{MARK}",
    "control_token": MARK,
}
ALLOWED = "a readable file with the secret in it as UTF-8 text; one line end at its end is dropped"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(environ: dict[str, str]) -> list[str]:
    """The lines the user gets; no secret may be in one."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    assert MARK not in str(caught.value.problems)
    return caught.value.problems


def variable(name: str) -> str:
    return f"HYBRIDSYNC_{name.upper()}"


def file(content: str | bytes, name: str = "secret") -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def value_of(loaded: LoadedSettings, name: str) -> str:
    value = getattr(loaded.settings, name)
    assert isinstance(value, SecretStr)
    return value.get_secret_value()


def test_every_secret_is_known_here() -> None:
    assert GOOD.keys() == set(SECRET_SETTINGS)
    kinds: list[tuple[str, type[BaseModel]]] = [(part, kind) for part in PARTS for kind in PARTS[part].values()]
    options = {(part, name) for part, kind in kinds for name, field in kind.model_fields.items() if is_secret(field)}
    assert options == set(SECRETS)


@pytest.mark.parametrize("name", SECRET_SETTINGS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_comes_from_the_file_that_its_variable_names(name: str, end: str) -> None:
    loaded = load_settings({f"{variable(name)}_FILE": file(GOOD[name] + end)})

    assert value_of(loaded, name) == GOOD[name]
    assert loaded.origins[name] == f"{variable(name)}_FILE"
    assert MARK not in str(masked(loaded.settings))
    assert masked(loaded.settings).keys() == loaded.origins.keys()


@pytest.mark.parametrize("name", SECRET_SETTINGS)
@pytest.mark.parametrize("content", ["{}\n\n", "{}\r\n\n", "{}\r", "{} ", "{}\t\n", " {}", "\n{}", "{}\u00a0\n"])
def test_other_white_space_at_an_end_is_an_error_that_names_variable_and_file(name: str, content: str) -> None:
    [line] = problems({f"{variable(name)}_FILE": file(content.format(GOOD[name]))})

    assert line.startswith(f"{variable(name)}_FILE: 'secret': not allowed (it ")
    assert "; allowed: " in line


def test_a_bad_value_in_a_file_is_explained_without_any_of_it() -> None:
    [line] = problems({"HYBRIDSYNC_MONGODB_URI_FILE": file(f"mongodb://someone:{MARK}@somewhere:0/x")})

    assert line.startswith("HYBRIDSYNC_MONGODB_URI_FILE: 'secret': not allowed (a port is not 1 to 65535); allowed: ")
    assert "some" not in line


@pytest.mark.parametrize("name", SECRET_SETTINGS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\r\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (MARK.encode() + b"\xff", "not UTF-8 text"),
        (MARK.encode("utf-16"), "not UTF-8 text"),
        (MARK.encode() * 10_000, "longer than 65536 bytes"),
    ],
)
def test_a_file_without_a_secret_in_it_is_one_line(name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        file(content)

    assert problems({f"{variable(name)}_FILE": "secret"}) == [
        f"{variable(name)}_FILE: 'secret': {reason}; allowed: {ALLOWED}"
    ]


def test_what_is_no_regular_file_is_not_opened(directory: Path) -> None:
    os.mkfifo("pipe")

    for name, reason in (("pipe", "not a regular file"), (".", "not a regular file"), ("x\0y", "not a file name")):
        [line] = problems({"HYBRIDSYNC_CONTROL_TOKEN_FILE": name})
        assert f": cannot be read: {reason}; allowed: {ALLOWED}" in line


@pytest.fixture
def _unreadable(directory: Path) -> None:
    """A file `secret` that nobody may read, in a directory that all may enter."""
    Path(file(MARK)).chmod(0)


NOBODY = 65534


@pytest.fixture
def _nobody() -> Iterator[None]:
    """Root may read everything, so this process is somebody else meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.usefixtures("_unreadable", "_nobody")
def test_a_file_that_may_not_be_read_is_one_line() -> None:
    assert problems({"HYBRIDSYNC_CONTROL_TOKEN_FILE": "secret"}) == [
        f"HYBRIDSYNC_CONTROL_TOKEN_FILE: 'secret': cannot be read: Permission denied; allowed: {ALLOWED}"
    ]


@pytest.mark.parametrize("secret", [GOOD["mongodb_uri"], GOOD["zookeeper_auth"], f"{MARK}0123456789abcdef"])
def test_a_secret_in_the_place_of_the_name_of_its_file_is_not_repeated(secret: str) -> None:
    [line] = problems({"HYBRIDSYNC_ZOOKEEPER_AUTH_FILE": secret})

    assert "cannot be read" in line


def test_a_link_to_a_file_is_followed_as_mounted_secrets_are_links(directory: Path) -> None:
    (directory / "..data").mkdir()
    file(MARK, "..data/token")
    (directory / "token").symlink_to("..data/token")

    assert value_of(load_settings({"HYBRIDSYNC_CONTROL_TOKEN_FILE": "token"}), "control_token") == MARK


@pytest.mark.parametrize("name", SECRET_SETTINGS)
def test_a_secret_and_its_file_together_are_an_error_that_names_both(name: str) -> None:
    both = {variable(name): GOOD[name], f"{variable(name)}_FILE": file(GOOD[name])}

    for environ in (both, dict(reversed(both.items()))):
        assert problems(environ) == [f"{variable(name)}: set, and {variable(name)}_FILE too; allowed: one of them"]


def test_both_in_one_profile_are_an_error_that_names_it() -> None:
    Path("p.env").write_text("HYBRIDSYNC_CONTROL_TOKEN_FILE=secret\nHYBRIDSYNC_CONTROL_TOKEN=x\n")
    file(MARK)

    assert problems({"HYBRIDSYNC_ENV": "p", "HYBRIDSYNC_CONFIG_DIR": "."}) == [
        "HYBRIDSYNC_CONTROL_TOKEN in p.env: set, and HYBRIDSYNC_CONTROL_TOKEN_FILE in p.env too; allowed: one of them"
    ]


PROFILE = {"HYBRIDSYNC_ENV": "p", "HYBRIDSYNC_CONFIG_DIR": "."}


@pytest.mark.parametrize(
    ("profile", "real", "expected", "origin"),
    [
        ("CONTROL_TOKEN_FILE=low", {}, "low", "HYBRIDSYNC_CONTROL_TOKEN_FILE in p.env"),
        ("CONTROL_TOKEN=plain", {"CONTROL_TOKEN_FILE": "high"}, "high", "HYBRIDSYNC_CONTROL_TOKEN_FILE"),
        ("CONTROL_TOKEN_FILE=low", {"CONTROL_TOKEN": "plain"}, "plain", "environment"),
        ("CONTROL_TOKEN_FILE=low", {"CONTROL_TOKEN_FILE": "high"}, "high", "HYBRIDSYNC_CONTROL_TOKEN_FILE"),
        ("CONTROL_TOKEN_FILE=absent", {"CONTROL_TOKEN": "plain"}, "plain", "environment"),
        ("CONTROL_TOKEN_FILE=low", {"CONTROL_TOKEN": ""}, None, "environment"),
        ("CONTROL_TOKEN_FILE=low", {"CONTROL_TOKEN_FILE": ""}, None, "environment"),
        ("CONTROL_TOKEN=plain", {"CONTROL_TOKEN_FILE": ""}, None, "environment"),
        ("CONTROL_TOKEN=plain", {"CONTROL_TOKEN": "", "CONTROL_TOKEN_FILE": "high"}, "high", None),
        ("CONTROL_TOKEN_FILE=low", {"CONTROL_TOKEN": "plain", "CONTROL_TOKEN_FILE": ""}, "plain", "environment"),
    ],
)
def test_a_real_variable_wins_over_the_profile_whichever_of_the_two_it_is(
    profile: str, real: dict[str, str], expected: str | None, origin: str | None
) -> None:
    Path("p.env").write_text(f"HYBRIDSYNC_{profile}\n")
    for name in ("low", "high"):
        file(f"{name}\n", name)

    for ordered in (real, dict(reversed(real.items()))):
        loaded = load_settings(PROFILE | {variable(name): value for name, value in ordered.items()})
        assert loaded.settings.control_token == (None if expected is None else SecretStr(expected))
        assert loaded.origins["control_token"] == (origin or "HYBRIDSYNC_CONTROL_TOKEN_FILE")


def test_a_secret_with_a_default_may_not_be_empty_in_either_form() -> None:
    [line] = problems({"HYBRIDSYNC_MONGODB_URI_FILE": ""})
    assert line.startswith("HYBRIDSYNC_MONGODB_URI_FILE: '': cannot be read: ")
    [line] = problems({"HYBRIDSYNC_MONGODB_URI": "", "HYBRIDSYNC_MONGODB_URI_FILE": file(GOOD["mongodb_uri"])})
    assert line == "HYBRIDSYNC_MONGODB_URI: set, and HYBRIDSYNC_MONGODB_URI_FILE too; allowed: one of them"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CONTROL_TOKEN_FIEL", "CONTROL_TOKEN_FILE"),
        ("MONGODB_URI_FILES", "MONGODB_URI_FILE"),
        ("ZOOKEEPER_AUTHFILE", "ZOOKEEPER_AUTH_FILE"),
        ("LOG_LEVEL_FILE", "LOG_LEVEL"),
        ("RESOURCES__R__SINK__ACL_FILE__X", "RESOURCES__NAME__SINK__ACL_FILE"),
    ],
)
def test_a_misspelt_name_of_a_file_is_told_the_right_one(written: str, meant: str) -> None:
    [line] = problems({variable(written): MARK})

    assert line == f"{variable(written)}: unknown variable; the nearest known one is {variable(meant)}"


def test_a_file_in_two_cases_is_a_mistake() -> None:
    file(MARK)
    [line] = problems({"HYBRIDSYNC_CONTROL_TOKEN_FILE": "secret", "hybridsync_control_token_file": "secret"})
    assert "set twice" in line


def test_settings_in_python_take_no_file() -> None:
    with pytest.raises(ValueError, match="control_token_file"):
        Settings.model_validate({"control_token_file": "secret"})
