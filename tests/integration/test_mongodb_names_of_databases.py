"""The names that settings refuse are those that MongoDB refuses: each is asked of a real server, past PyMongo."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, quote_plus

import pymongo
import pytest
from pymongo.database import Database
from pymongo.errors import OperationFailure

from hybridsync.addresses import check_mongodb_uri, mongodb_database

NAMES = [
    *(f"t{character}x" for character in ("/", "\\", ".", " ", '"', "$", "\0")),
    *(f"t{character}x" for character in ("*", "<", ">", ":", "|", "?", "#", "@", "%", "'", "é", "\t", "\n", "-", "+")),
    *("Admin", "Config", "LOCAL", "t" * 63, "t" * 64, "é" * 31, "é" * 32),
]


def taken(client: pymongo.MongoClient[dict[str, Any]], name: str) -> bool:
    """Whether the server stores a document in a database of that name."""
    database: Database[dict[str, Any]] = client["t_placeholder"]
    database._name = name  # PyMongo refuses names of its own accord
    try:
        if "writeErrors" in database.command({"insert": "c", "documents": [{"_id": 1}]}):
            return False
        database.command({"dropDatabase": 1})
    except OperationFailure:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encode", [quote, quote_plus])
def test_a_name_of_a_database_is_refused_when_the_server_would_refuse_it(
    name: str, encode: Any, mongo_uri: str
) -> None:
    uri = f"mongodb://h/{encode(name, safe='')}"
    with pymongo.MongoClient[dict[str, Any]](mongo_uri) as client:
        if taken(client, name):
            assert mongodb_database(check_mongodb_uri(uri)) == name
        else:
            with pytest.raises(ValueError, match=r"the database in the path|MongoDB's own"):
                check_mongodb_uri(uri)
