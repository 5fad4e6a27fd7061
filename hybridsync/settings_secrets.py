"""Secrets that stand in files: for a secret `NAME`, the variable or option `NAME_FILE` says which file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hybridsync.resource_kinds import FILE_SUFFIX, PARTS, SECRET_FILE_ALLOWED
from hybridsync.settings_masks import show_file
from hybridsync.settings_tree import Location, Raw

LONGEST_SECRET = 65_536
"""Bytes. Whatever is longer is another file than the one that was meant."""


def read_secret(file: str) -> str:
    """The secret in a file, without one line end at its end.

    Raises `ValueError` with the reason, in which there is nothing of the content. Only a regular file is opened: a
    pipe could keep the reader waiting for ever.
    """
    try:
        regular = stat.S_ISREG(os.stat(file).st_mode)
        content = _beginning(file) if regular else b""
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or 'input error'}") from None
    except ValueError:
        raise ValueError("cannot be read: not a file name") from None
    if not regular:
        raise ValueError("cannot be read: not a regular file")
    if len(content) > LONGEST_SECRET:
        raise ValueError(f"longer than {LONGEST_SECRET} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    secret = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not secret:
        raise ValueError("empty")
    return secret


def read_secret_files(raw: Raw) -> None:
    """Puts what the files hold in the place of their names."""
    for place in [place for place in raw.origins if place[-1].endswith(FILE_SUFFIX) and raw.twin(place)]:
        if len(place) == 1 or _has_secret(raw, place):
            _read_one(raw, place)


def _read_one(raw: Raw, place: Location) -> None:
    secret, origin, file = raw.twin(place), raw.origins[place], raw.value(place)
    raw.drop(place)
    written = origin.name(place)
    if file == "" and raw.secrets.get(secret[0], False):
        raw.put(secret, "", origin)
        return
    try:
        if not isinstance(file, str):
            raise ValueError("not the name of a file")
        text = read_secret(file)
    except ValueError as error:
        raw.problems.append(f"{written}: {show_file(file)}: {error}; allowed: {SECRET_FILE_ALLOWED}")
    else:
        raw.put(secret, text, origin._replace(label=written, secret=secret, file=show_file(file)))


def _beginning(file: str) -> bytes:
    """So much of a file that one can see whether there is more than may be."""
    with Path(file).open("rb") as opened:
        return opened.read(LONGEST_SECRET + 1)


def _has_secret(raw: Raw, place: Location) -> bool:
    """Whether the part of the resource is of a type that knows the secret; the model says so when it does not."""
    kind = raw.value((*place[:3], "type"))
    model = PARTS[place[2]].get(kind) if isinstance(kind, str) else None
    return model is not None and raw.twin(place)[-1] in model.model_fields
