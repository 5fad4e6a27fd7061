"""Where settings come from, and which one wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from hybridsync import settings_files
from hybridsync.decision import Mode
from hybridsync.errors import ConfigurationError
from hybridsync.resource_config import ResourceConfig
from hybridsync.resource_kinds import MongoSink, ZooKeeperSource
from hybridsync.settings import Settings, config_fingerprint, load_settings, masked

ONE = '{"services": {"source": {"type": "zookeeper", "path": "/services"}}}'


def problems(environ: dict[str, str], *, require_resources: bool = False) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, require_resources=require_resources)
    return caught.value.problems


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_empty_environment_gives_the_defaults_of_the_contract() -> None:
    loaded = load_settings({})
    settings = loaded.settings
    assert settings == Settings()
    assert settings.sync_on_startup is Mode.AUTO
    assert settings.auto_sync_on_informer_failure
    assert settings.data_stale_threshold_seconds == 86400
    assert settings.verify_interval_hours == 1
    assert settings.mongodb_database == "hybridsync"
    assert settings.zookeeper_chroot == ""
    assert settings.resources == {}
    assert set(loaded.origins.values()) == {"default"}


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDSYNC_HTTP_PORT", "0")
    assert load_settings().settings.http_port == 0
    assert load_settings({}).settings.http_port == 3000
    assert Settings().http_port == 3000


def test_names_and_words_are_taken_in_any_case() -> None:
    loaded = load_settings({"hybridsync_log_level": "WARNING", "Sync_On_Startup": "Never"})
    assert loaded.settings.log_level == "warning"
    assert loaded.settings.sync_on_startup is Mode.NEVER
    assert loaded.origins["log_level"] == "environment"


def test_one_name_in_two_cases_is_a_mistake() -> None:
    assert problems({"HYBRIDSYNC_HTTP_PORT": "1", "hybridsync_http_port": "2"}) == [
        "hybridsync_http_port: set twice, also as HYBRIDSYNC_HTTP_PORT; names differ in case only"
    ]


def test_four_names_are_read_without_the_prefix_and_the_prefixed_one_wins() -> None:
    bare = {
        "SYNC_ON_STARTUP": "never",
        "AUTO_SYNC_ON_INFORMER_FAILURE": "no",
        "PERIODIC_SYNC_INTERVAL_HOURS": "0.5",
        "DATA_STALE_THRESHOLD_SECONDS": "7",
        "HTTP_PORT": "8",
    }
    settings = load_settings(bare | {"HYBRIDSYNC_SYNC_ON_STARTUP": "always"}).settings
    assert settings.sync_on_startup is Mode.ALWAYS
    assert not settings.auto_sync_on_informer_failure
    assert settings.periodic_sync_interval_hours == 0.5
    assert settings.data_stale_threshold_seconds == 7
    assert settings.http_port == 3000


def test_an_empty_optional_value_is_not_set_and_hides_the_profile(directory: Path) -> None:
    (directory / "x.env").write_text("HYBRIDSYNC_CONTROL_TOKEN=token\n")
    profile = {"HYBRIDSYNC_ENV": "x", "HYBRIDSYNC_CONFIG_DIR": str(directory)}
    assert load_settings(profile).settings.control_token == SecretStr("token")
    settings = load_settings(profile | {"HYBRIDSYNC_CONTROL_TOKEN": "", "HYBRIDSYNC_ZOOKEEPER_TLS_CA": ""}).settings
    assert settings.control_token is None
    assert settings.zookeeper_tls_ca is None


def test_an_empty_variable_with_a_default_is_a_mistake() -> None:
    assert problems({"HYBRIDSYNC_HTTP_PORT": ""}) == [
        "HYBRIDSYNC_HTTP_PORT: '' is not allowed; allowed: a whole number from 0 to 65535"
    ]


def test_what_test_rigs_and_kubernetes_set_is_left_alone() -> None:
    links = {
        "HYBRIDSYNC_PORT": "tcp://10.0.0.1:3000",
        "HYBRIDSYNC_PORT_3000_TCP": "tcp://10.0.0.1:3000",
        "HYBRIDSYNC_PORT_3000_TCP_ADDR": "10.0.0.1",
        "HYBRIDSYNC_SERVICE_HOST": "10.0.0.1",
        "HYBRIDSYNC_SERVICE_PORT_HTTP": "3000",
        "HYBRIDSYNC_WEB_PORT": "tcp://10.0.0.2:80",
        "HYBRIDSYNC_WEB_SERVICE_HOST": "10.0.0.2",
        "HYBRIDSYNC_TEST_MONGODB_URI": "mongodb://localhost",
    }
    assert load_settings(links).settings == Settings()


def test_a_port_alone_is_no_service_link() -> None:
    assert problems({"HYBRIDSYNC_PORT": "3000", "HYBRIDSYNC_SERVICE_HOST": "x"}) == [
        "HYBRIDSYNC_PORT: unknown variable; the nearest known one is HYBRIDSYNC_HTTP_PORT",
        "HYBRIDSYNC_SERVICE_HOST: unknown variable; the nearest known one is HYBRIDSYNC_ZOOKEEPER_HOSTS",
    ]


def test_a_real_variable_wins_over_the_profile_even_without_the_prefix(directory: Path) -> None:
    (directory / "config").mkdir()
    (directory / "config" / "mine.env").write_text(
        "# comment\nexport HYBRIDSYNC_SYNC_ON_STARTUP='always'\nHYBRIDSYNC_HTTP_PORT=81\n"
        "HYBRIDSYNC_LOG_FORMAT=json # comment\n"
    )
    loaded = load_settings({"HYBRIDSYNC_ENV": "mine", "SYNC_ON_STARTUP": "never", "HYBRIDSYNC_HTTP_PORT": "82"})
    assert loaded.settings.sync_on_startup is Mode.NEVER
    assert loaded.settings.http_port == 82
    assert loaded.settings.log_format == "json"
    assert loaded.origins["http_port"] == "environment"
    assert loaded.origins["log_format"] == "mine.env"


def test_dollar_signs_in_a_profile_are_taken_as_they_are(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "leaked")
    (directory / "x.env").write_text("HYBRIDSYNC_CONTROL_TOKEN=a${HOME}b\n")
    settings = load_settings({"HYBRIDSYNC_ENV": "x", "HYBRIDSYNC_CONFIG_DIR": "."}).settings
    assert settings.control_token == SecretStr("a${HOME}b")


def test_the_shipped_profile_serves_when_config_has_none_of_that_name(directory: Path) -> None:
    (directory / "config").mkdir()
    loaded = load_settings({"HYBRIDSYNC_ENV": "production"})
    assert loaded.settings.log_format == "json"
    assert loaded.origins["log_format"] == "production.env"


def test_the_copy_in_the_wheel_comes_before_a_config_beside_the_package() -> None:
    package = Path(settings_files.__file__).parent
    assert list(settings_files.SHIPPED_DIRECTORIES) == [package / "config", package.parent / "config"]


@pytest.mark.parametrize("name", ["nope", "../x", "/etc/x", "a\nb", ".", "x" * 5000, "a\x00"])
def test_an_unknown_profile_names_those_that_exist(name: str, directory: Path) -> None:
    (directory / "x.env").write_text("")
    (directory / "y.env").write_text("")
    [line] = problems({"HYBRIDSYNC_ENV": name, "HYBRIDSYNC_CONFIG_DIR": str(directory)})
    assert line.startswith("HYBRIDSYNC_ENV: no profile ")
    assert line.endswith("; allowed: x, y")
    assert "\n" not in line


def test_mistakes_in_a_profile_name_the_file(directory: Path) -> None:
    (directory / "x.env").write_text(
        "HYBRIDSYNC_HTTP_PROT=1\nPATH=/bin\nHYBRIDSYNC_ENV=y\nHYBRIDSYNC_LOG_LEVEL=loud\n\nbroken line\n"
        "HYBRIDSYNC_HTTP_HOST\nHYBRIDSYNC_HTTP_PORT=1\nHYBRIDSYNC_HTTP_PORT=2\n"
    )
    environ = {"HYBRIDSYNC_ENV": "x", "HYBRIDSYNC_CONFIG_DIR": "."}
    assert problems(environ) == [
        "x.env: line 6 is not NAME=VALUE",
        "x.env: line 7 is not NAME=VALUE",
        "HYBRIDSYNC_HTTP_PORT in x.env: set twice, again in line 9",
        "HYBRIDSYNC_HTTP_PROT in x.env: unknown variable; the nearest known one is HYBRIDSYNC_HTTP_PORT",
        "PATH in x.env: unknown variable; the nearest known one is HYBRIDSYNC_ZOOKEEPER_AUTH",
        "HYBRIDSYNC_ENV in x.env: read from the environment only, not from a profile",
        "HYBRIDSYNC_LOG_LEVEL in x.env: 'loud' is not allowed; allowed: debug, info, warning or error",
    ]


def test_a_profile_that_is_not_text_is_one_line(directory: Path) -> None:
    (directory / "x.env").write_bytes(b"\nHYBRIDSYNC_HTTP_PORT=\xff\n")
    assert problems({"HYBRIDSYNC_ENV": "x", "HYBRIDSYNC_CONFIG_DIR": "."}) == ["x.env: line 2 is not UTF-8 text"]


def test_resources_from_all_places_are_merged_key_by_key(directory: Path) -> None:
    (directory / "r.toml").write_text(
        '[resources.a]\nsource = {type = "zookeeper", path = "/toml", exclude = ["/toml/x"]}\n'
        'sink = {collection = "from_toml"}\n[resources.b]\nsource = {type = "zookeeper", path = "/b"}\n'
    )
    (directory / "p.env").write_text(
        "HYBRIDSYNC_RESOURCES_FILE=r.toml\nHYBRIDSYNC_RESOURCES__A__SOURCE__PATH=/profile\n"
    )
    environ = {
        "HYBRIDSYNC_ENV": "p",
        "HYBRIDSYNC_CONFIG_DIR": ".",
        "HYBRIDSYNC_RESOURCES": '{"a": {"source": {"path": "/json", "exclude": ["/**/y"]}}}',
        "HYBRIDSYNC_RESOURCES__B__SINK": '{"collection": "json_b"}',
        "HYBRIDSYNC_RESOURCES__B__SINK__COLLECTION": "nested_b",
    }
    loaded = load_settings(environ)
    a, b = loaded.settings.resources["a"], loaded.settings.resources["b"]
    assert a.source == ZooKeeperSource(path="/json", exclude=("/**/y",))
    assert (a.sink, b.sink) == (MongoSink(collection="from_toml"), MongoSink(collection="nested_b"))
    assert loaded.origins["resources.a.source.path"] == "environment"
    assert loaded.origins["resources.a.source.type"] == "r.toml"
    assert loaded.origins["resources.b.sink.type"] == "default"
    assert masked(loaded.settings).keys() == loaded.origins.keys()
    del environ["HYBRIDSYNC_RESOURCES"]
    del environ["HYBRIDSYNC_RESOURCES__B__SINK"]
    assert problems(environ) == [
        "a.source.exclude in r.toml: a list is not allowed (a glob matches nothing below the source's path); "
        'allowed: a list of globs of full paths below the source\'s path, such as ["/services/tmp/**"]'
    ]


def test_no_resource_is_a_mistake_only_where_one_is_needed() -> None:
    assert load_settings({}).settings.resources == {}
    [line] = problems({}, require_resources=True)
    assert ONE in line
    assert list(load_settings({"HYBRIDSYNC_RESOURCES": ONE}, require_resources=True).settings.resources) == ["services"]


def test_the_library_builds_settings_from_models() -> None:
    settings = Settings(resources={"services": ResourceConfig(source=ZooKeeperSource(path="/services"))})
    assert settings.resources["services"].sink == MongoSink(collection="services")


def test_the_fingerprint_follows_what_the_mirror_holds_and_nothing_else() -> None:
    def fingerprint(hosts: str = "a:1", **options: object) -> str:
        source = {"type": "zookeeper", "path": "/x"} | options
        settings = Settings.model_validate({"zookeeper_hosts": hosts, "resources": {"r": {"source": source}}})
        return config_fingerprint("r", settings.resources["r"], settings)

    same = {fingerprint(), fingerprint("b:2"), fingerprint(exclude=[])}
    other = {fingerprint("a:1/chroot"), fingerprint(path="/y"), fingerprint(exclude=["/x/a"])}
    assert len(same) == 1
    assert len(same | other) == 4
    assert fingerprint(exclude=["/x/a", "/x/b"]) == fingerprint(exclude=["/x/b", "/x/a", "/x/a"])
    settings = Settings()
    config = ResourceConfig(source=ZooKeeperSource(path="/x"), sink=MongoSink(collection="other"))
    assert {config_fingerprint("r", config, settings)}.isdisjoint(same)
    assert len(fingerprint()) == 16
