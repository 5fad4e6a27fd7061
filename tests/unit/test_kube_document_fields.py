"""The document of a Kubernetes object: fields, encodings, and the version that is read back from it."""

from __future__ import annotations

import json
from typing import Any

import bson
import pytest

from hybridsync.model import ANY, Remove
from hybridsync.sinks.codec import MALFORMED, MISPLACED
from hybridsync.sinks.kube_codec import KubernetesCodec, view_of
from hybridsync.sinks.kube_document import encode, encode_plain, same_content
from tests.kube_records import kube_object

SYNCED_MS = 1_700_000_000_123
LABELS = {"zone": "a", "app.kubernetes.io/name": "web"}


def decoded(document: bytes | str) -> dict[str, Any]:
    assert not isinstance(document, str), document
    return bson.decode(document)


def test_an_object_has_the_fields_of_the_contract_in_their_order() -> None:
    record = kube_object("web", labels=LABELS, spec={"replicas": 3})
    document = decoded(encode(record, "", SYNCED_MS))
    assert list(document) == ["_id", "uid", "namespace", "name", "labels", "value", "version", "syncedAt"]
    assert document["_id"] == "prod/web"
    assert document["uid"] == "uid-1"
    assert (document["namespace"], document["name"]) == ("prod", "web")
    assert document["labels"] == LABELS
    assert document["value"] == json.loads(record.value)
    assert document["version"] == "100"
    assert document["syncedAt"].timestamp() == SYNCED_MS // 1000 + 0.123


def test_a_cluster_scoped_object_has_no_namespace() -> None:
    document = decoded(encode(kube_object("node-1", namespace=None), "", SYNCED_MS))
    assert (document["_id"], document["namespace"], document["name"]) == ("node-1", None, "node-1")


def test_the_order_of_labels_makes_no_other_document() -> None:
    one = encode(kube_object("web", labels={"a": "1", "b": "2"}, value=b"{}"), "", SYNCED_MS)
    other = encode(kube_object("web", labels={"b": "2", "a": "1"}, value=b"{}"), "", SYNCED_MS)
    assert isinstance(one, bytes)
    assert isinstance(other, bytes)
    assert one == other


@pytest.mark.parametrize(
    "value",
    [
        b'{"spec":{"big":9223372036854775808}}',
        b'{"spec":{"exact":0.12345678901234567890}}',
        b'{"spec":' + b'{"a":' * 120 + b"1" + b"}" * 121,
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"a\\u0000":1}',
        b'{"$ref":"a","$id":1}',
        b"[1]",
        b"not JSON",
    ],
)
def test_what_bson_would_not_give_back_is_kept_as_text(value: bytes) -> None:
    document = decoded(encode(kube_object("odd", value=value), "", SYNCED_MS))
    assert (document["encoding"], document["value"]) == ("utf8", value.decode())
    assert list(document)[-2:] == ["version", "syncedAt"]


def test_bytes_that_are_no_text_are_kept_as_bytes() -> None:
    document = decoded(encode(kube_object("odd", value=b"{\xff}"), "", SYNCED_MS))
    assert (document["encoding"], document["value"]) == ("binary", b"{\xff}")


def test_a_name_that_is_not_unicode_is_told_in_one_line() -> None:
    assert encode(kube_object("\ud800", value=b"{}"), "", SYNCED_MS) == (
        "its name, uid, resourceVersion or labels are not valid Unicode"
    )


def test_a_label_that_no_key_can_be_is_left_to_the_value() -> None:
    document = decoded(encode(kube_object("web", labels={"a\0": "1", "b": "2"}, value=b"{}"), "", SYNCED_MS))
    assert document["labels"] == {"b": "2"}


def test_only_the_time_of_the_write_makes_no_difference() -> None:
    record = kube_object("web")
    stored = encode(record, "", SYNCED_MS)
    assert isinstance(stored, bytes)
    later, text = encode(record, "", SYNCED_MS + 1), encode_plain(record, "", SYNCED_MS, "utf8")
    other = encode(kube_object("web", version="101"), "", SYNCED_MS)
    assert isinstance(later, bytes)
    assert isinstance(other, bytes)
    assert same_content(bytes(stored), later)
    assert not same_content(bytes(stored), text)
    assert not same_content(bytes(stored), other)


def test_the_version_is_read_back_from_uid_and_version() -> None:
    record = kube_object("web", uid="u", version="opaque-7")
    shown = decoded(encode(record, "", SYNCED_MS))
    codec = KubernetesCodec()
    assert codec.version_in(shown) == record.version
    assert codec.version_in({**shown, "uid": "v"}) != record.version


@pytest.mark.parametrize("fields", [{}, {"uid": "u"}, {"uid": "u", "version": 7}, {"uid": ["u"], "version": "7"}])
def test_a_document_without_uid_and_version_as_text_is_malformed(fields: dict[str, Any]) -> None:
    assert KubernetesCodec().version_in({"_id": "prod/web", **fields}) == MALFORMED


def test_a_document_made_under_other_options_is_misplaced() -> None:
    record = kube_object("web")
    view = view_of(["spec.secret"], [], False)
    shown = decoded(encode(record, view, SYNCED_MS))
    assert shown["view"] == view
    assert KubernetesCodec(view).version_in(shown) == record.version
    assert KubernetesCodec().version_in(shown) == record.version | MISPLACED


def test_a_view_has_a_name_only_when_options_are_given() -> None:
    assert view_of([], [], False) == ""
    names = {
        view_of(["a"], [], False),
        view_of([], ["a"], False),
        view_of([], [], True),
        view_of(["a", "b"], [], False),
    }
    assert len(names) == 4
    assert view_of(["a", "b"], [], False) == view_of(["b", "a"], [], False)


def test_a_sweep_deletes_only_what_is_still_as_it_was_seen() -> None:
    codec = KubernetesCodec()
    seen = kube_object("web", version="1").version
    sweep = [Remove("prod/web", seen=seen)]
    assert codec.to_look_at(sweep) == ["prod/web"]
    assert codec.removal(sweep, {}) == []
    assert codec.removal(sweep, {"prod/web": {"uid": "uid-1", "version": "2"}}) == []
    (delete,) = codec.removal(sweep, {"prod/web": {"uid": "uid-1", "version": "1"}})
    assert vars_of(delete) == {"_id": "prod/web", "uid": "uid-1", "version": "1"}


@pytest.mark.parametrize("remove", [Remove("prod/web"), Remove("prod/web", seen=ANY), Remove("prod/web", as_of=0)])
def test_a_removal_that_saw_nothing_deletes_the_key(remove: Remove) -> None:
    codec = KubernetesCodec()
    assert codec.to_look_at([remove]) == []
    (delete,) = codec.removal([remove], {})
    assert vars_of(delete) == {"_id": "prod/web"}


def vars_of(delete: Any) -> dict[str, Any]:
    found: dict[str, Any] = delete._filter
    return found
