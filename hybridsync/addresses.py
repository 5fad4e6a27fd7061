"""How the addresses a user writes are checked: MongoDB URIs, ZooKeeper hosts, znode paths, listen addresses.

Nothing here opens a connection or asks a name server. Every check raises `ValueError` with a reason
of a few words that never repeats a part of the value, because the value may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from urllib.parse import unquote, unquote_plus

from pymongo import uri_parser

DEFAULT_DATABASE = "hybridsync"
LONGEST_DATABASE = 63
"""Bytes, by the MongoDB manual, "Naming Restrictions"."""

_HOST = r"(?:\[[^\[\]@/?#,\s]+\]|[^\[\]:@/?#,\s]+)(?::[0-9]+)?"
_MONGODB_URI = re.compile(
    r"mongodb(?P<srv>\+srv)?://"
    r"(?:(?P<user>[^:@/?#\s]*)(?P<password>:[^:@/?#\s]+)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<database>[^/?#@\s]*))?"
    r"(?:\?(?P<options>[^?#@\s]*))?"
)
_SECRET_OPTION = re.compile("password|properties|token|secret", re.IGNORECASE)
_FILE_OPTIONS = ("tlscafile", "tlscertificatekeyfile", "tlscrlfile")
_SRV_OPTIONS = ("srvservicename", "srvmaxhosts", "srvallowedhostssuffix")
_SYSTEM_DATABASES = ("admin", "config", "local")
# Measured on mongod 6.0; the manual, "Naming Restrictions", has more for servers on Windows: *<>:|?
_NOT_IN_DATABASES = re.compile('[/\\\\ "$\x00]')

# The characters ZooKeeper refuses in a path: PathUtils.validatePath in its sources.
_NOT_IN_PATHS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff]")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")


def check_mongodb_uri(uri: str) -> str:
    """Returns the URI; raises `ValueError` when PyMongo would refuse it. `mongodb+srv` is not resolved."""
    check_ends(uri)
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("it starts with neither mongodb:// nor mongodb+srv://")
    form = _MONGODB_URI.fullmatch(uri)
    if form is None:
        raise ValueError("it is not of that form, or a special character in it is not percent-encoded")
    for option in _options(form):
        if not _options_accepted(option):
            if _option_name(option).lower() in _FILE_OPTIONS:
                raise ValueError(f"option {_option_name(option)} names a file that cannot be read")
            raise ValueError(f"option {_option_name(option)} is unknown or has a bad value")
    if not all(1 <= int(port) <= 65535 for port in re.findall(r":([0-9]{1,9})(?:,|$)", form["hosts"])):
        raise ValueError("a port is not 1 to 65535")
    if form["srv"]:
        _check_srv(form)
    _check_database(unquote_plus(form["database"] or "") or None)
    kept = [option for option in _options(form) if _option_name(option).lower() not in _SRV_OPTIONS]
    plain = "mongodb://" + uri.split("://", 1)[1].split("?", 1)[0] + ("?" + "&".join(kept) if kept else "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            uri_parser.parse_uri(plain if form["srv"] else uri)
    except Exception:  # PyMongo's reason is not repeated: it may quote a part of a password
        raise ValueError("PyMongo does not accept its hosts, percent-encoding, database or options") from None
    return uri


def mongodb_database(uri: str) -> str:
    """The database of a checked URI: its path, else `hybridsync`."""
    form = _MONGODB_URI.fullmatch(uri)
    if form is None or not form["database"]:
        return DEFAULT_DATABASE
    database: str = uri_parser.parse_uri(f"mongodb://localhost/{form['database']}")["database"]
    return database


def mongodb_options(uri: str) -> dict[str, str]:
    """The options of a MongoDB URI by name in small letters; empty when it cannot be understood."""
    form = _MONGODB_URI.fullmatch(uri)
    pairs = [] if form is None else [option.partition("=") for option in _options(form)]
    return {name.lower(): unquote(value) for name, _, value in pairs}


def mask_mongodb_uri(uri: str) -> str:
    """The URI with `***` for the password and for secret options; only `***` when it cannot be understood."""
    form = _MONGODB_URI.fullmatch(uri)
    if form is None:
        return "***"
    scheme = uri.split("://", 1)[0]
    user = "" if form["user"] is None else form["user"] + (":***" if form["password"] else "") + "@"
    database = "" if form["database"] is None else "/" + form["database"]
    options = "&".join(_mask_option(option) for option in _options(form))
    return f"{scheme}://{user}{form['hosts']}{database}" + (f"?{options}" if options else "")


def check_zookeeper_hosts(hosts: str) -> str:
    """Returns the connection string without blanks around its hosts and without an empty chroot."""
    if "://" in hosts:
        raise ValueError("hosts are written without a scheme such as zk://")
    servers, slash, chroot = hosts.partition("/")
    if "," in chroot:
        raise ValueError("the chroot may stand once, after the last host: HOST:PORT,HOST:PORT/app")
    names = [server.strip() for server in servers.split(",")]
    for number, name in enumerate(names, start=1):
        try:
            _check_server(name)
        except ValueError as error:
            raise ValueError(f"host {number} {error}") from None
    if slash and chroot:
        if any(part != part.strip() for part in chroot.split("/")):
            raise ValueError("the chroot has white space at an end of a part")
        try:
            check_znode_path("/" + chroot)
        except ValueError as error:
            raise ValueError(f"the chroot {error}") from None
    return ",".join(names) + (slash + chroot if chroot else "")


def zookeeper_chroot(hosts: str) -> str:
    """The chroot of a checked connection string: empty, or a path such as `/app`."""
    _, _, chroot = hosts.partition("/")
    return "/" + chroot if chroot else ""


def check_znode_path(path: str) -> str:
    """Returns the path; raises `ValueError` unless ZooKeeper could hold a znode of that name."""
    if not path.startswith("/"):
        raise ValueError("does not start with /")
    if path != "/" and path.endswith("/"):
        raise ValueError("ends with /")
    if "//" in path:
        raise ValueError("has an empty part (//)")
    if any(part in (".", "..") for part in path.split("/")):
        raise ValueError("has a part that is . or ..")
    if _NOT_IN_PATHS.search(path):
        raise ValueError("has a character that ZooKeeper does not allow")
    return path


def check_listen_host(host: str) -> str:
    """Returns the address or host name to listen on."""
    if not _is_address(host) and not _HOST_NAME.fullmatch(host):
        raise ValueError("it is neither an address nor a host name")
    return host


def check_ends(secret: str) -> str:
    """Returns a secret; raises `ValueError` for white space at an end of it, which no eye sees.

    A line end is there by mistake (`echo` into a file, a Secret made of one), and would be a part of the password.
    """
    if secret != secret.strip():
        raise ValueError("it begins or ends with white space, such as a line end")
    return secret


def check_digest(auth: str) -> str:
    """Returns ZooKeeper credentials of the form `digest:user:password`."""
    check_ends(auth)
    scheme, _, rest = auth.partition(":")
    user, _, password = rest.partition(":")
    if scheme != "digest" or not user or not password:
        raise ValueError("it is not of that form")
    return auth


def check_bearer_token(token: str) -> str:
    """Returns a token that fits into an `Authorization` header (RFC 9110: visible ASCII, no blanks)."""
    if not all("!" <= character <= "~" for character in token):
        raise ValueError("it has blanks, line ends or other characters that no header can carry")
    return token


def _options(form: re.Match[str]) -> list[str]:
    return [option for option in re.split("[&;]", form["options"] or "") if option]


def _option_name(option: str) -> str:
    return option.partition("=")[0]


def _mask_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    if not equals:
        return "***"
    return f"{name}=***" if _SECRET_OPTION.search(name) else option


def _options_accepted(option: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            uri_parser.split_options(option, warn=False)
    except Exception:  # whatever PyMongo's reason, the user is told which option it is
        return False
    return True


def _check_srv(form: re.Match[str]) -> None:
    """The rules of mongodb+srv that hold without asking the name server."""
    if re.search(r"[,:\[]", form["hosts"]) or _is_address(form["hosts"]):
        raise ValueError("mongodb+srv takes exactly one host name, without a port")
    if any(option.lower() == "directconnection=true" for option in _options(form)):
        raise ValueError("mongodb+srv does not go with directConnection=true")


def _check_database(database: str | None) -> None:
    if database is None:
        return
    if "." in database:
        raise ValueError("the database in the path has a dot")
    if database.lower() in _SYSTEM_DATABASES:  # a server refuses Admin beside admin
        own = database.lower()
        raise ValueError(f"database {own} is MongoDB's own; to log in there, use ?authSource={own}")
    if _NOT_IN_DATABASES.search(database):
        raise ValueError(
            'the database in the path has a character that MongoDB refuses there: / \\ " $, a blank or NUL'
        )
    if len(database.encode("utf-8", "replace")) > LONGEST_DATABASE:
        raise ValueError("the database in the path is not a name of 1 to 63 bytes")


def _check_server(server: str) -> None:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", server, re.DOTALL)
    host, _, port = server.partition(":")
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    has_port = bracketed[2] is not None if bracketed else ":" in server
    if not server:
        raise ValueError("is empty")
    if "@" in server:
        raise ValueError("has an @: credentials belong into ZOOKEEPER_AUTH")
    if not bracketed and re.search(r"[\s;].*[:\s;]", server):
        raise ValueError("is several: between hosts belongs a comma")
    if bracketed and not _is_address(host, version=6):
        raise ValueError("is not an IPv6 address in brackets")
    if not bracketed and server.count(":") > 1:
        raise ValueError("has more than one colon: an IPv6 address needs brackets")
    if not bracketed and not _HOST_NAME.fullmatch(host):
        raise ValueError("is neither a host name nor an address")
    if has_port and not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        raise ValueError("has a port that is not 1 to 65535")


def _is_address(host: str, version: int | None = None) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return version is None or address.version == version
