"""Every event is one that the schema admits, and the check is one that can fail."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
from hypothesis import given

from audit.columns import WORDS
from audit.export import ocsf
from audit.export.evidence import ChunkHash
from audit.export.fields import FIELDS
from audit.export.ocsf_events import Source
from tests import ocsf_schema
from tests.export_rows import (
    PLAIN,
    ROWS,
    UNUSUAL,
    Row,
    by_path,
    every_call_decision_and_stage,
    lines,
    row,
    table,
)

CHECKPOINT = "wasmgate.example/log\n12\nAAAA\n\n— wasmgate.example/log AbCd\n"


class Sealed:
    """Chunks of 128 records, up to record 1000."""

    tree_size = 12

    def checkpoint(self):
        return CHECKPOINT

    def chunk_of(self, _exec_id, seq):
        first = seq // 128 * 128
        return ChunkHash(first, min(first + 127, 999), first.to_bytes(32, "big")) if 0 <= seq < 1000 else None


def events(rows, evidence=None):
    out = io.BytesIO()
    source = Source("0.1", "node", evidence.checkpoint() if evidence else None)
    assert ocsf.write(iter([table(rows)]), out, source=source, evidence=evidence) == len(rows)
    return lines(out.getvalue())


@pytest.mark.parametrize("evidence", [None, Sealed()])
def test_every_call_decision_and_stage_gives_an_event_that_the_schema_admits(evidence):
    rows = every_call_decision_and_stage()
    found = events(rows, evidence)
    assert {fault for event in found for fault in ocsf_schema.faults(event)} == set()
    assert {event["class_uid"] for event in found} == {1001, 1003, 1007, 4001}


@pytest.mark.parametrize("unusual", UNUSUAL)
def test_an_unusual_row_gives_an_event_that_the_schema_admits(unusual):
    for evidence in (None, Sealed()):
        (event,) = events([unusual], evidence)
        assert ocsf_schema.faults(event) == []
        assert read_back(event) == as_read(unusual)


@given(ROWS)
def test_any_row_gives_an_admitted_event_and_can_be_read_back(rows):
    found = events(rows, Sealed())
    assert [ocsf_schema.faults(event) for event in found] == [[] for _ in rows]
    assert [read_back(event) for event in found] == [as_read(each) for each in rows]


def read_back(event):
    """The columns, by nothing but the field map."""
    found: Row = {}
    for field in FIELDS:
        value = by_path(event, field.ocsf)
        found[field.column] = field.absent if value is None else value
        number = field.column == "errno" or field.is_digits
        if number and found[field.column] is not None:
            found[field.column] = int(found[field.column])
    if found["t_last_ns"] is None:
        found["t_last_ns"] = found["t_ns"]
    return found


def as_read(of):
    words = {"decision": WORDS[of["decision"]]}
    raw = {name: None if of[name] is None else of[name].hex() for name in ("payload", "payload_sha256")}
    return of | words | raw


def changed(event, path, value):
    made = copy.deepcopy(event)
    *steps, last = path.split(".")
    place = made
    for step in steps:
        place = place[int(step)] if step.isdigit() else place[step]
    if isinstance(place, list):
        place[int(last)] = value
    elif value is ...:
        del place[last]
    else:
        place[last] = value
    return made


FILE, NETWORK = row(), next(each for each in UNUSUAL if each["class_uid"] == 4001 and each["rule_id"] == "db")
MUTATIONS = [
    (FILE, "class_uid", 9999), (FILE, "class_uid", 1003), (FILE, "activity_id", 77), (FILE, "activity_name", "Opened"),
    (FILE, "type_uid", 100101), (FILE, "category_uid", 4), (FILE, "class_name", "File"), (FILE, "category_name", "System"),
    (FILE, "time", "now"), (FILE, "time", 1.5), (FILE, "time", ...), (FILE, "time", True), (FILE, "time", 1 << 70),
    (FILE, "severity_id", 55), (FILE, "severity", "High"), (FILE, "severity_id", ...), (FILE, "metadata", ...),
    (FILE, "metadata.product", ...), (FILE, "metadata.version", ...), (FILE, "metadata.sequence", 1 << 40),
    (FILE, "metadata.profiles", []), (FILE, "metadata.profiles", ["record_integrity"]), (FILE, "metadata.profiles", ["trace"]),
    (FILE, "metadata.profiles", "security_control"), (FILE, "metadata.labels", []), (FILE, "metadata.uid", 3),
    (FILE, "actor", ...), (FILE, "actor.process", ...), (FILE, "actor.process.uid", ...), (FILE, "actor.process.file.name", ...),
    (FILE, "actor.process.tid", 4), (FILE, "device", ...), (FILE, "device.name", ...), (FILE, "device.type_id", ...),
    (FILE, "file", ...), (FILE, "file.name", ...), (FILE, "file.type_id", 17), (FILE, "file.type", "Folder"), (FILE, "file", "x"),
    (FILE, "colour", "red"), (FILE, "file.colour", "red"), (FILE, "traffic", {"bytes_in": 1}), (FILE, "action_id", 5),
    (FILE, "disposition", "Blocked"), (FILE, "is_alert", 0), (FILE, "policy.uid", 7), (FILE, "policy", {"is_applied": True}),
    (FILE, "policy.is_applied", "yes"), (FILE, "status_id", 3), (FILE, "status", "Failure"),
    (FILE, "status", ""), (FILE, "unmapped", []), (FILE, "attestation_list", []), (FILE, "attestation_list.0.fingerprint.value", ...),
    (FILE, "attestation_list.0.fingerprint.algorithm_id", 77), (FILE, "attestation_list.0.fingerprint.serialization", ...),
    (FILE, "attestation_list.0.signatures.0.algorithm", ...), (FILE, "attestation_list.0.signatures.0.algorithm_id", ...),
    (FILE, "attestation_list.0", {"chain_uid": "x"}), (FILE, "api", {"operation": "x"}), (FILE, "trace", {"uid": "1"}),
    (NETWORK, "dst_endpoint.ip", "no address"), (NETWORK, "dst_endpoint.port", 70_000), (NETWORK, "dst_endpoint.port", "80"),
    (NETWORK, "dst_endpoint", {}), (NETWORK, "connection_info.direction_id", ...), (NETWORK, "is_src_dst_assignment_known", True),
    (NETWORK, "metadata.profiles", ["security_control", "record_integrity"]), (NETWORK, "src_endpoint.uid", 5),
]  # fmt: skip


@pytest.mark.parametrize(("of", "path", "value"), MUTATIONS)
def test_an_event_that_was_changed_is_refused_and_its_twin_is_admitted(of, path, value):
    (event,) = events([of], Sealed())
    assert ocsf_schema.faults(event) == []
    if path == "status" and value == "":
        event = changed(event, "status_id", 99)
    assert ocsf_schema.faults(changed(event, path, value)) != []


def test_a_network_event_without_any_endpoint_is_refused():
    (event,) = events([NETWORK])
    assert ocsf_schema.faults(changed(event, "dst_endpoint", ...)) == []
    assert ocsf_schema.faults(changed(changed(event, "dst_endpoint", ...), "src_endpoint", ...)) != []


def test_a_record_names_its_chunk_and_the_checkpoint():
    (event,) = events([row(seq=200)], Sealed())
    (proof,) = event["attestation_list"]
    assert proof["fingerprint"]["value"] == (128).to_bytes(32, "big").hex()
    assert proof["fingerprint"]["serialization"] == "wasmgate.chunk.v1"
    assert proof["chain_uid"] == f"wasmgate.example/log/{PLAIN['exec_id']}"
    assert proof["authority_uid"] == "wasmgate.example/log"
    assert proof["signatures"][0]["algorithm"] == "Ed25519"
    assert "record_integrity" in event["metadata"]["profiles"]
    assert "integrity" not in event["unmapped"]


def test_a_record_that_is_not_sealed_says_so():
    (event,) = events([row(seq=1000)], Sealed())
    assert "attestation_list" not in event
    assert event["unmapped"]["integrity"] == "not sealed when it was exported"
    assert event["metadata"]["profiles"] == ["security_control"]


def test_rows_of_a_piece_each_get_their_own_chunk():
    other = "01a1ee56-5e00-7000-8000-000000000001"
    rows = [
        row(seq=seq, exec_id=name)
        for seq in (300, 5, 999, 1000, 127, 128)
        for name in (PLAIN["exec_id"], other)
    ]
    found = events(rows, Sealed())
    for each, event in zip(rows, found, strict=True):
        proof = event.get("attestation_list")
        wanted = (each["seq"] // 128 * 128).to_bytes(32, "big").hex() if each["seq"] < 1000 else None
        assert (proof and proof[0]["fingerprint"]["value"]) == wanted
        assert event["metadata"]["uid"] == f"{each['exec_id']}:{each['seq']}"


def test_a_summary_row_has_a_count_and_a_window_and_a_single_call_has_none():
    summary, single = events([row(stage=3, n=9, t_last_ns=PLAIN["t_ns"] + 5_000_000), row()])
    assert summary["count"] == 9
    assert summary["end_time"] - summary["start_time"] == summary["duration"] == 5
    assert summary["time"] == summary["start_time"]
    assert {"count", "start_time", "end_time", "duration"}.isdisjoint(single)


def test_a_refusal_is_denied_alerting_and_failed_and_its_twin_is_not():
    refused, allowed = events([row(decision=2, disposition=2, errno=76, reason="rule"), row()])
    assert (refused["action_id"], refused["status_id"], refused["is_alert"], refused["severity"]) == (
        2,
        2,
        True,
        "Medium",
    )
    assert (allowed["action_id"], allowed["status_id"], allowed["is_alert"], allowed["severity"]) == (
        1,
        1,
        False,
        "Informational",
    )
    assert refused["status_detail"] == "rule"


def test_times_keep_their_nanoseconds():
    (event,) = events([row(t_ns=1_795_000_000_000_000_007)])
    assert event["metadata"]["original_time"] == "2026-11-18T11:06:40.000000007Z"
    assert event["time"] == 1_795_000_000_000


def test_an_address_becomes_an_endpoint_and_other_text_a_name():
    found = events([each for each in UNUSUAL if each["class_uid"] == 4001])
    peers = [event.get("dst_endpoint") for event in found]
    assert peers[0] == {"ip": "2001:db8::1", "port": 443}
    assert peers[1] == {"ip": "10.0.0.7", "port": 80}
    assert [peer and set(peer) for peer in peers[2:]] == [{"hostname"}, {"hostname"}, {"hostname"}, None]
    assert found[0]["firewall_rule"] == {"uid": "db"}


def test_a_line_is_inert_whatever_a_guest_wrote():
    out = io.BytesIO()
    ocsf.write(iter([table([row(target="/a\n\x1b[2J\u202e\u2028")])]), out)
    assert out.getvalue().count(b"\n") == 1
    assert b"\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue().decode()


def test_the_vendored_definitions_have_their_licence_and_say_where_they_are_from():
    folder = Path(ocsf_schema.FOLDER)
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "OCSF" in (folder / "NOTICE").read_text()
    assert "github.com/ocsf" in (folder / "README.md").read_text()
