"""Damaged input for the C in native/, for a run under a sanitizer: `python native_fuzz.py MODULE SEED ROUNDS`.

MODULE is the built extension. Prints how many calls of each function were made, as JSON. Whether results are
right is for other tests: here something is wrong when the sanitizer ends the process. `--prove` instead of the
seed reads one byte too many, so that one sees whether it would.

A `bytes` ends with a NUL of Python's own, so reading one byte too many would go unseen: that NUL is forbidden
(`_guarded`). Imports nothing of hybridsync: whatever is loaded here runs slowly.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import random
import struct
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

_MEMORY = ctypes.CDLL(None)
_OBJECT_BYTES = bytes.__basicsize__ - 1
"""What stands in front of the content of a `bytes`."""

_PIECES = [bytes([byte]) for byte in b'"{}[],:\\-+.eE019 \n\t\0\x1f\x7f\x80\xff'] + [
    b"true", b"false", b"null", b"NaN", b"1e5", b"0.1", b"-0.0", b"1.0", b"99999999999999999999", b"1" * 60, b'""',
    b"{}", b"[]", b'"$ref":', b'"a":', b"\\u0000", "ü😀".encode(), b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf",
    b"[" * 40, b'{"a":' * 40, b"]" * 40,
]  # fmt: skip
"""What is put into good bytes to damage them."""

_LENGTHS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"]


class Data(NamedTuple):
    """As hybridsync's."""

    value: bytes
    stat: bytes
    version: int
    children: int


def _guarded(call: Callable[[bytes], Any], data: bytes) -> Any:
    """Calls with a copy of its own of these bytes, of which nothing but they themselves may be read."""
    if len(data) < 2:  # Python has only one of each of these
        return call(data)
    copy = bytes(bytearray(data))
    end = ctypes.c_void_p(id(copy) + _OBJECT_BYTES + len(copy))
    _MEMORY.__asan_poison_memory_region(end, ctypes.c_size_t(1))
    try:
        return call(copy)
    finally:
        _MEMORY.__asan_unpoison_memory_region(end, ctypes.c_size_t(1))


def _json_value(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.randrange(9 if depth < 5 else 6)
    match kind:
        case 0:
            return draw.choice([None, True, False, "", {}, []])
        case 1:
            return draw.randint(-(2 ** draw.randrange(70)), 2 ** draw.randrange(70))
        case 2:
            return draw.choice([draw.random(), draw.uniform(-1e300, 1e300), -0.0, 1e16, 1e-7, 5e-324])
        case 3 | 4 | 5:
            return "".join(draw.choices('abc/"\\\n\0ü€😀', k=draw.randrange(12)))
        case 6:
            return [_json_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    keys = ("".join(draw.choices("abü$", k=draw.randrange(6))) for _ in range(draw.randrange(4)))
    return {key: _json_value(draw, depth + 1) for key in keys}


def _json_text(draw: random.Random) -> bytes:
    value: Any
    if draw.random() < 0.9:
        value = [_json_value(draw)] if draw.random() < 0.5 else {"a": _json_value(draw), "b": _json_value(draw)}
    else:
        value = {f"key {number}": number for number in range(draw.randint(30, 34))}
    indent, compact = draw.choice([None, None, 2]), draw.random() < 0.7
    return json.dumps(
        value, ensure_ascii=draw.random() < 0.2, indent=indent, separators=(",", ":") if compact else None
    ).encode()


def _long_list(draw: random.Random) -> bytes:
    """Takes several times as much room as BSON, so that the output has to grow."""
    return b"[" + b",".join(draw.choices([b"0", b"{}", b"0.5", b'""', b'{"a":[]}'], k=draw.randrange(600))) + b"]"


def _damaged(draw: random.Random, data: bytes) -> bytes:
    """The bytes with up to three changes, of which each also changes what is at the very end now and then."""
    damaged = bytearray(data)
    for _ in range(draw.randrange(4)):
        at = draw.choice([draw.randint(0, len(damaged)), max(0, len(damaged) - draw.randrange(4))])
        piece = draw.choice(_PIECES)
        match draw.randrange(5):
            case 0:
                del damaged[at:]
            case 1:
                damaged[at:at] = piece
            case 2:
                damaged[at : at + len(piece)] = piece
            case 3:
                del damaged[at : at + draw.randrange(9)]
            case 4:
                damaged[at : at + 4] = draw.choice(_LENGTHS)
    return bytes(damaged)


def _number(draw: random.Random, bits: int) -> int:
    most = (1 << (bits - 1)) - 1
    return draw.choice([0, -1, 1, most, -most - 1, draw.randint(-most - 1, most)])


def _key(draw: random.Random) -> str:
    return draw.choice(["/", "/a", "", "a", "/ü/😀", "/" + "x" * draw.randrange(600), "/a/" * draw.randrange(9)])


def _stat(draw: random.Random) -> bytes:
    return struct.pack("!qqqqiiiqiiq", *(_number(draw, 32 if field in (4, 5, 6, 8, 9) else 64) for field in range(11)))


def _answer(draw: random.Random) -> bytes:
    parts: list[bytes] = []
    for _ in range(draw.randrange(6)):
        kind = draw.choice([4, 4, 4, 4, 8, -1])
        value = draw.randbytes(draw.choice([0, 0, 1, 7, 200]))
        length = draw.choice([len(value)] * 9 + [-1, -2, _number(draw, 32)])
        parts += (struct.pack("!iBii", kind, 0, 0, length), value, _stat(draw))
    return b"".join(parts) + struct.pack("!iBi", -1, 1, -1)


def _shown(draw: random.Random) -> bytes:
    """A document as the index of a mirror shows it."""
    path = _key(draw).encode() + b"\0"
    czxid, mzxid, mtime = (struct.pack("<q", _number(draw, 64)) for _ in range(3))
    stat = struct.pack("<i", 35) + b"\x12czxid\0" + czxid + b"\x09mtime\0" + mtime + b"\0"
    body = b"\x02_id\0" + struct.pack("<i", len(path)) + path + b"\x12version\0" + mzxid + b"\x03stat\0" + stat + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def _documents(module: ModuleType, draw: random.Random) -> None:
    text = draw.choice([_json_text(draw), _long_list(draw), draw.randbytes(draw.randrange(40)), b"text", b""])
    key, stat, root = _key(draw), _stat(draw), draw.choice(["/", "/a", "/ü/😀"])
    _guarded(lambda value: module.znode_document(key, value, stat, root, _number(draw, 64)), _damaged(draw, text))


def _values(module: ModuleType, draw: random.Random) -> None:
    answer = _damaged(draw, _answer(draw))
    offset = draw.choice([0, 0, 0, draw.randrange(-9, len(answer) + 9), -(2**63), 2**63 - 1])
    most = draw.choice([2**63 - 1, 3, 1, 0, -1])
    _guarded(lambda given: module.znode_values(given, offset, most, Data), answer)


def _names(module: ModuleType, draw: random.Random) -> None:
    names = [_key(draw).encode().replace(b"/", b"") for _ in range(draw.randrange(5))]
    count = draw.choice([len(names)] * 9 + [-1, -2, _number(draw, 32)])
    answer = struct.pack("!i", count) + b"".join(struct.pack("!i", len(name)) + name for name in names)
    offset = draw.choice([0] * 9 + [draw.randrange(-9, len(answer) + 9), -(2**63), 2**63 - 1])
    _guarded(lambda given: module.znode_names(given, offset), _damaged(draw, answer))


def _versions(module: ModuleType, draw: random.Random) -> None:
    batch = b"".join(_shown(draw) for _ in range(draw.randrange(5)))
    _guarded(module.znode_versions, _damaged(draw, batch))


def _without_memory(module: ModuleType) -> int:
    """Lets one allocation after the other fail: then there is no result, or the one there always is."""
    try:
        allocations = importlib.import_module("_testcapi")  # not every Python has it
    except ImportError:
        return 0
    stat, text = bytes(range(68)), '{"ü":[0.1,1,"a",{}]}'.encode()
    answer = struct.pack("!iBii", 4, 0, 0, 600) + b"x" * 600 + struct.pack("!qqqqiiiqiiq", *[2**31 - 1] * 11)
    names = struct.pack("!ii", 2, 3) + "aü".encode() + struct.pack("!i", 600) + b"x" * 600
    batch = _shown(random.Random(1)) + b"\x06\0\0\0\0\0"
    calls: list[Callable[[], Any]] = [
        lambda: module.znode_document("/a/ü", text, stat, "/a", 1),
        lambda: module.znode_document("/a/ü", "nur Text: ü".encode(), stat, "/a", 1),
        lambda: module.znode_values(answer * 2, 0, 2, Data),
        lambda: module.znode_names(names * 2, 0),
        lambda: module.znode_versions(batch * 2),
    ]
    tried = 0
    for call in calls:
        expected = call()
        assert expected is not None
        for failing in range(60):
            result = None
            allocations.set_nomemory(failing, failing + 1)
            try:
                result = call()
            except MemoryError:
                pass
            finally:
                allocations.remove_mem_hooks()
            if result not in (None, expected):
                raise AssertionError(f"without memory for allocation {failing}: {result!r}")
            tried += 1
    return tried


def main() -> None:
    """See the top of the file."""
    path, seed = sys.argv[1:3]
    if seed == "--prove":
        data = b"some bytes"
        _guarded(lambda given: ctypes.string_at(id(given) + _OBJECT_BYTES, len(given) + 1), data)
        return
    spec = importlib.util.spec_from_file_location("_native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    draw, rounds = random.Random(seed), int(sys.argv[3])
    for _ in range(rounds):
        _documents(module, draw)
        _names(module, draw)
        _values(module, draw)
        _versions(module, draw)
    print(json.dumps({"calls": 4 * rounds, "without memory": _without_memory(module)}))


if __name__ == "__main__":
    main()
