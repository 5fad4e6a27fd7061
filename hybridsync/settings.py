"""Every setting of the service, what it may be, and `load_settings`, which reads and checks them all.

`Settings(...)` takes the values it is given and looks nowhere else; `load_settings()` reads the
environment, the profile and the resources file. The page for users is docs/configuration.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hybridsync import addresses
from hybridsync.decision import Mode
from hybridsync.errors import ConfigurationError
from hybridsync.resource_config import ResourceConfig, completed
from hybridsync.resource_kinds import PARTS, MongoSink
from hybridsync.schema_files import with_schemas_found
from hybridsync.settings_fields import (
    DECADE_SECONDS,
    FILE_ALLOWED,
    HOSTS_ALLOWED,
    KEYS_ALLOWED,
    URI_ALLOWED,
    WEEK_SECONDS,
    YEAR_HOURS,
    GlobList,
    OptionalPath,
    OptionalSecret,
    ResourceName,
    lower,
    number,
    option,
)
from hybridsync.settings_masks import is_secret, mask_secret
from hybridsync.settings_problems import describe
from hybridsync.settings_sources import read
from hybridsync.settings_tree import DELIMITER, PREFIX, Raw
from hybridsync.tracing import check_globs

NOT_SET = "not set"
NO_RESOURCES = (
    "no resource is configured; the shortest way to one: "
    f"""{PREFIX}RESOURCES='{{"services": {{"source": {{"type": "zookeeper", "path": "/services"}}}}}}'"""
)


class Settings(BaseSettings):
    """All settings. Field names are the variables in lower case, without `HYBRIDSYNC_`.

    Raises `pydantic.ValidationError`; `load_settings` turns that into `ConfigurationError`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    sync_on_startup: Annotated[Mode, BeforeValidator(lower)] = option(
        Mode.AUTO, "auto, always or never", "Sync before ready: when needed, always, or not at all"
    )
    auto_sync_on_informer_failure: bool = option(
        True, "true or false", "Resync by itself after expiry or too many reconnects"
    )
    periodic_sync_interval_hours: float = number(0.0, 0, YEAR_HOURS, "Full sync every so often, ±10 %; 0 = off")
    verify_interval_hours: float = number(
        1.0, 0, YEAR_HOURS, "Compare every record and repair what differs every so often, ±10 %; 0 = off"
    )
    data_stale_threshold_seconds: float = number(
        86400.0, 0, DECADE_SECONDS, "A last full sync older than this is stale"
    )
    informer_max_reconnects: int = number(5, 0, 1000, "Consecutive abnormal failures before a full sync")
    sync_timeout_seconds: float = number(
        600.0, 0, WEEK_SECONDS, "One full sync that makes no progress for this long fails", above=True
    )
    confirm_interval_seconds: float = number(1.0, 0.01, 3600, "How often the source is asked for proof")
    ready_max_age_seconds: float = number(
        0.0, 0, DECADE_SECONDS, "Not ready while confirmedAt is older than this; 0 = off"
    )
    sweep_limit_percent: float = number(
        50.0,
        0,
        100,
        "A full sync that would delete more of a mirror of 100 records or more stops, "
        "and a source that is not there empties no mirror; 100 = no guard",
    )
    mongodb_uri: SecretStr = option(
        SecretStr("mongodb://127.0.0.1:27017/hybridsync"),
        URI_ALLOWED,
        "Where the mirrors are; without a path, in the database hybridsync",
    )
    zookeeper_hosts: str = option("127.0.0.1:2181", HOSTS_ALLOWED, "The ensemble; the port is 2181 when none is given")
    zookeeper_session_timeout_seconds: float = number(30.0, 0.1, 3600, "Asked of the server, which may narrow it")
    zookeeper_auth: OptionalSecret = option(None, "digest:USER:PASSWORD", "Credentials of the sessions (secret)")
    zookeeper_tls_ca: OptionalPath = option(None, FILE_ALLOWED, "Switches TLS on: who may vouch for the server")
    zookeeper_tls_cert: OptionalPath = option(None, FILE_ALLOWED, "Client certificate; needs the key and the CA")
    zookeeper_tls_key: OptionalPath = option(None, FILE_ALLOWED, "Key of the client certificate")
    http_host: str = option("127.0.0.1", "an address (0.0.0.0 or :: for all) or a host name", "Where to listen")
    http_port: int = number(3000, 0, 65535, "Where to listen; 0 = any free port")
    control_token: OptionalSecret = option(
        None, "visible ASCII characters without blanks", "Bearer token for requests that change something (secret)"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = option(
        "info", "debug, info, warning or error", "The least severe lines that are logged"
    )
    log_format: Annotated[Literal["console", "json"], BeforeValidator(lower)] = option(
        "console", "console or json", "For people, or one JSON object a line"
    )
    trace_keys: GlobList = option(
        (), KEYS_ALLOWED, "Keys whose changes are logged step by step whatever LOG_LEVEL says"
    )
    resources: dict[ResourceName, ResourceConfig] = option(
        {}, "a JSON object, name → resource", "The resources; also as nested variables"
    )
    resources_file: OptionalPath = option(None, "a readable TOML file", "The same under [resources.NAME]")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: reading is the work of `load_settings`, which can name every origin."""
        return (init_settings,)

    @property
    def mongodb_database(self) -> str:
        """The path of `mongodb_uri`, else `hybridsync`."""
        return addresses.mongodb_database(self.mongodb_uri.get_secret_value())

    @property
    def zookeeper_chroot(self) -> str:
        """The path at the end of `zookeeper_hosts`; empty when there is none."""
        return addresses.zookeeper_chroot(self.zookeeper_hosts)

    @field_validator("mongodb_uri")
    @classmethod
    def _uri_accepted(cls, uri: SecretStr) -> SecretStr:
        addresses.check_mongodb_uri(uri.get_secret_value())
        return uri

    @field_validator("zookeeper_hosts")
    @classmethod
    def _hosts_accepted(cls, hosts: str) -> str:
        return addresses.check_zookeeper_hosts(hosts)

    @field_validator("zookeeper_auth")
    @classmethod
    def _digest_accepted(cls, auth: SecretStr | None) -> SecretStr | None:
        if auth is not None:
            addresses.check_digest(auth.get_secret_value())
        return auth

    @field_validator("control_token")
    @classmethod
    def _token_accepted(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None:
            addresses.check_bearer_token(token.get_secret_value())
        return token

    @field_validator("trace_keys")
    @classmethod
    def _keys_matchable(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        check_globs(globs)
        return globs

    @field_validator("http_host")
    @classmethod
    def _host_accepted(cls, host: str) -> str:
        return addresses.check_listen_host(host)

    @field_validator("ready_max_age_seconds")
    @classmethod
    def _age_reachable(cls, age: float, info: ValidationInfo) -> float:
        interval = info.data.get("confirm_interval_seconds", 0.0)
        if 0 < age < interval:
            raise ValueError(f"below CONFIRM_INTERVAL_SECONDS, {interval:.12g}, it would never stay ready")
        return age

    @field_validator("zookeeper_tls_ca", "zookeeper_tls_cert", "zookeeper_tls_key")
    @classmethod
    def _file_readable(cls, path: Path | None) -> Path | None:
        try:
            if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
                raise ValueError("there is no such readable file")
        except OSError:
            raise ValueError("there is no such readable file") from None
        return path

    @field_validator("zookeeper_tls_cert")
    @classmethod
    def _cert_has_ca(cls, cert: Path | None, info: ValidationInfo) -> Path | None:
        if cert is not None and info.data.get("zookeeper_tls_ca", cert) is None:
            raise ValueError("it needs ZOOKEEPER_TLS_CA, or the server could not be checked")
        return cert

    @field_validator("zookeeper_tls_key")
    @classmethod
    def _key_has_cert(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        cert = info.data.get("zookeeper_tls_cert", key)
        if key is None and cert is not None:
            raise ValueError("it is missing, but ZOOKEEPER_TLS_CERT is set: the two go together")
        if key is not None and cert is None:
            raise ValueError("ZOOKEEPER_TLS_CERT is missing: the two go together")
        return key

    @field_validator("resources")
    @classmethod
    def _resources_fit(cls, resources: dict[str, ResourceConfig], info: ValidationInfo) -> dict[str, ResourceConfig]:
        return completed(resources, anonymous=info.data.get("zookeeper_auth", "refused") is None)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and where each value came from.

    `origins` has the keys of `masked(settings)`. Its values: `environment`, the name of the profile or
    of the resources file, or `default`.
    """

    settings: Settings
    origins: dict[str, str]


def load_settings(environ: Mapping[str, str] | None = None, *, require_resources: bool = False) -> LoadedSettings:
    """Reads the settings from `environ` (default: the process's own) and the files that it names.

    Raises `ConfigurationError` with one line for each thing that is wrong. With `require_resources`,
    no resource at all is wrong too.
    """
    raw = read(os.environ if environ is None else environ, Settings.model_fields)
    try:
        settings = Settings(**(raw.values | {"resources": with_schemas_found(raw.resources, raw.config_dir)}))
    except ValidationError as error:
        raw.problems.extend(describe(error, raw, Settings.model_fields))
    if require_resources and not raw.resources and not raw.problems:
        raw.problems.append(NO_RESOURCES)
    if raw.problems:
        raise ConfigurationError([_one_line(problem) for problem in dict.fromkeys(raw.problems)])
    return LoadedSettings(settings, _origins(settings, raw))


def masked(settings: Settings) -> dict[str, str]:
    """Every setting by its dotted name, as text; passwords and other secrets are `***`."""
    shown: dict[str, str] = {}
    for name, value in _flat(settings).items():
        field = Settings.model_fields.get(name)
        if value is None or value == {} or (value == () and field is not None):
            shown[name] = NOT_SET
        elif field is not None and is_secret(field):
            shown[name] = mask_secret(name, value)
        else:
            shown[name] = _text(value)
    return shown


def config_fingerprint(name: str, config: ResourceConfig, settings: Settings) -> str:
    """16 hexadecimal digits that change when an option changes that decides what the mirror holds.

    Servers and credentials are left out: the same tree behind another address is the same tree.
    Options at their default are left out, so that an option added later changes no fingerprint.
    """
    source = config.source.model_dump(mode="json", exclude_defaults=True, exclude={"poll_seconds"})
    source["type"] = config.source.type
    if "exclude" in source:
        source["exclude"] = sorted(set(source["exclude"]))
    sink: dict[str, str] = {"type": config.sink.type}
    if isinstance(config.sink, MongoSink):
        sink["collection"] = config.sink.collection or name
    else:
        sink["path"] = config.sink.path
    published = [config.fields, config.schema_ and config.schema_.schema.canonical]
    more = [published] if any(published) else []
    content = json.dumps([source, sink, settings.zookeeper_chroot, *more], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _flat(settings: Settings) -> dict[str, Any]:
    """Dotted name → value. The resources take the place of the field; without any, the field stays."""
    flat: dict[str, Any] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name != "resources" or not value:
            flat[name] = value
            continue
        for resource, config in value.items():
            for part in PARTS:
                options: BaseModel = getattr(config, part)
                flat.update({f"resources.{resource}.{part}.{key}": option for key, option in options})
            if config.schema_ is not None:
                flat[f"resources.{resource}.schema"] = config.schema_.path
            flat.update({f"resources.{resource}.fields.{key}": own for key, own in config.fields.items()})
    return flat


def _origins(settings: Settings, raw: Raw) -> dict[str, str]:
    labels = {".".join(location): origin.label for location, origin in raw.origins.items()}
    return {name: labels.get(name, "default") for name in _flat(settings)}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, SecretStr):  # of a resource: an access list, which may hold a password
        return re.sub(r"(?s)(?<=^digest:).+", "***", value.get_secret_value())
    return str(value)


def _one_line(problem: str) -> str:
    """Line ends and other characters that would disturb a terminal, escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in problem
    )
