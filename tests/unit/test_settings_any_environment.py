"""Whatever the environment holds, settings load or the user gets lines that can be read and shown."""

from __future__ import annotations

import json
from string import ascii_letters, digits

from hypothesis import given, settings
from hypothesis import strategies as st

from hybridsync.errors import ConfigurationError
from hybridsync.settings import LoadedSettings, Settings, load_settings, masked

SECRETS = st.text(ascii_letters + digits, min_size=12, max_size=20).map(lambda text: f"Zq{text}")
SEPARATORS = st.sampled_from([":", "@", "/", "?", "#", "%", " ", "\n", "é", "[", ",", "&", "=", ""])
WORDS = [
    "resources",
    "source",
    "sink",
    "path",
    "type",
    "exclude",
    "collection",
    "acl",
    "acl_file",
    "a",
    "PAHT",
    "",
    "x\ny",
]
NAMES = st.one_of(
    st.sampled_from([name for name in Settings.model_fields if name != "resources_file"]),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map("__".join),
    st.lists(st.sampled_from(WORDS[1:]), min_size=1, max_size=3).map(
        lambda parts: "__".join(["resources", "a", *parts])
    ),
    st.text(max_size=20),
    st.sampled_from(["env", "config_dir", "resources_file"]),
    st.sampled_from(["control_token_file", "mongodb_uri_file", "zookeeper_auth_file"]),
    st.sampled_from(["acl", "acl_file", "type", "path"]).map("resources__a__sink__{}".format),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["zookeeper", "/x"])
)
TREES = st.recursive(
    LEAVES, lambda below: st.lists(below) | st.dictionaries(st.sampled_from(WORDS) | st.text(), below), max_leaves=12
)
VALUES = st.one_of(
    st.text(st.characters(), max_size=40),
    st.text(st.characters(categories=["Cs", "Cc", "Ll"]), max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["zookeeper", "/x", "auto", "true", "0", "nan", "{}", "[]", '["/x/y"]', "/x/**", "a:1/b", ""]),
    TREES.map(json.dumps),
)


@st.composite
def secret_values(draw: st.DrawFn) -> tuple[dict[str, str], str]:
    """Variables that hold a secret, in forms that are sometimes right and mostly not."""
    secret = draw(SECRETS)
    odd = draw(SEPARATORS) + secret + draw(SEPARATORS)
    uri = draw(
        st.sampled_from(["mongodb://u:{}@h", "mongodb+srv://u:{}@h/x", "mongo://u:{}@h", "mongodb://u:{}", "{}"])
    )
    option = draw(st.sampled_from(["", "/?tls=true", "/?nope=1", ":99999/", "/a.b"]))
    values = {
        "HYBRIDSYNC_MONGODB_URI": uri.format(odd) + option,
        "HYBRIDSYNC_ZOOKEEPER_AUTH": draw(st.sampled_from(["digest:u:", "digest:", "", "x:"])) + odd,
        "HYBRIDSYNC_CONTROL_TOKEN": odd,
    }
    return {name: values[name] for name in draw(st.sets(st.sampled_from(sorted(values)), min_size=1))}, secret


def outcome(environ: dict[str, str], *, required: bool) -> LoadedSettings | list[str]:
    """The settings, or the lines the user gets instead. Any other exception fails the test."""
    try:
        return load_settings(environ, require_resources=required)
    except ConfigurationError as error:
        return error.problems


@settings(max_examples=400)
@given(
    environ=st.dictionaries(st.builds(lambda name: f"HYBRIDSYNC_{name.upper()}", NAMES), VALUES, max_size=6),
    secrets=secret_values(),
    required=st.booleans(),
)
def test_any_environment_loads_or_is_explained_line_by_line(
    environ: dict[str, str], secrets: tuple[dict[str, str], str], required: bool
) -> None:
    variables, secret = secrets
    found = outcome(environ | variables, required=required)
    if isinstance(found, LoadedSettings):
        shown = masked(found.settings)
        assert shown.keys() == found.origins.keys()
        assert secret not in str(shown)
        assert found.settings.resources or not required
    else:
        assert found
        assert all(line.strip() and line.isprintable() and secret not in line for line in found)
        assert not any("pydantic" in line or "Input should" in line for line in found)
