"""What all peers share: their arguments, the collection they write to, and how they say what they took."""

from __future__ import annotations

import argparse
import gc
import json
import time
from typing import Any

import pymongo
from pymongo.collection import Collection

Documents = Collection[dict[str, Any]]


def arguments() -> argparse.ArgumentParser:
    """The arguments that every peer takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--collection", required=True)
    return parser


def empty_mirror(options: argparse.Namespace) -> Documents:
    """The collection to fill, with the index that a mirror has; connected and warm."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(options.uri, w="majority", journal=True)
    mirror = client[options.database][options.collection]
    mirror.create_index("parent")
    return mirror


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        self._began = time.monotonic()

    def report(self, count: int) -> None:
        """Prints the seconds until now, and how much was done."""
        print(json.dumps({"seconds": time.monotonic() - self._began, "count": count}), flush=True)
