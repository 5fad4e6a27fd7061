"""The floor of writing: pymongo's `insert_many` of documents that are already made, 1,000 at a time.

`--in-flight`: batches under way at once, each in a thread. `--raw`: the documents are BSON already, so
that nothing is encoded while the clock runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from benchmarks.peers.contender import Clock, Documents, arguments, empty_mirror

BATCH = 1000


def main() -> None:
    """Copies the reference mirror into an empty one."""
    parser = arguments()
    parser.add_argument("--reference", required=True, help="database that holds the documents")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--raw", action="store_true")
    options = parser.parse_args()
    documents = _ready_made(options.uri, options.reference, options.collection, options.raw)
    mirror = empty_mirror(options)
    batches = [documents[start : start + BATCH] for start in range(0, len(documents), BATCH)]
    with ThreadPoolExecutor(options.in_flight) as threads:
        _connect(threads, mirror, options.in_flight)
        clock = Clock()
        if options.in_flight == 1:
            for batch in batches:
                mirror.insert_many(batch)
        else:
            list(threads.map(mirror.insert_many, batches))
        clock.report(len(documents))


def _ready_made(uri: str, database: str, collection: str, raw: bool) -> Sequence[Any]:
    client: pymongo.MongoClient[Any] = pymongo.MongoClient(uri)
    with client:
        held: Any = client[database][collection]
        if raw:
            held = held.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
        return list(held.find({}, batch_size=10_000))


def _connect(threads: ThreadPoolExecutor, mirror: Documents, count: int) -> None:
    """Opens the connections that will be needed, before the clock starts."""
    list(threads.map(lambda _: mirror.database.command("ping"), range(2 * count)))


if __name__ == "__main__":
    main()
