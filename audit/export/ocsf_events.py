"""One event of OCSF 1.9 for the rows of one shape, with marks where they differ.

The objects in it are `ocsf_objects.py`, the columns' places `fields.py`, control events `ocsf_control.py`.
INVARIANT: an event has every required field of its class, and every column of the record in its exact value.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.call_names import bare
from audit.columns import SCHEMA_ID, WORDS, Decision, Disposition, Stage
from audit.export.fields import FIELDS
from audit.export.lines import Shared, mark
from audit.export.ocsf_objects import (
    Object,
    attestation,
    filled,
    guest_process,
    labels,
    number,
    peer,
    resulting_file,
    touched_file,
)
from audit.ocsf import CAPTIONS, OTHER, VERSION, EventClass

_SECURITY, _INTEGRITY, _HOST = "security_control", "record_integrity", "host"

ACTIONS = {0: "Unknown", 1: "Allowed", 2: "Denied", 3: "Observed", 4: "Modified"}
DISPOSITIONS: dict[int, str] = {
    Disposition.UNKNOWN: "Unknown",
    Disposition.ALLOWED: "Allowed",
    Disposition.BLOCKED: "Blocked",
    Disposition.LOGGED: "Logged",
}
SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
STATUSES = {0: "Unknown", 1: "Success", 2: "Failure", 99: "Mixed"}
_MIXED = -2  # `errno` of a row that stands for calls with different results
_RETURNED_NOT = -1
_WORDS_OF_MESSAGE = {
    Decision.ALLOW: "was allowed",
    Decision.DENY: "was refused",
    Decision.OBSERVE: "was allowed and would have been refused",
    Decision.MODIFIED: "was allowed in another form",
    Decision.LIMIT: "was refused by a limit that ends the guest",
}

ORDER = (
    *("time", "n", "start", "end", "span", "exec_id", "seq", "seq:2", "exec_id:2", "original_time"),
    *("exec_id:3", "name", "path", "name2", "target2", "exec_id:4", "flags", "exec_id:5", "bytes_in"),
    *("bytes_out", "exec_id:6", "seq:3", "exec_id:7", "chunk"),
    *(f"{field.column}:u" for field in FIELDS if not field.is_shared and field.ocsf.startswith("unmapped.")),
)
"""The marks of an event, in the order of its fields."""


@dataclass(frozen=True, slots=True)
class Source:
    """What all events of an export say of where they come from."""

    version: str = "unknown"  # of the product
    node: str = "unknown"  # name of the machine or the log
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What the rows of one shape share, with its types."""

    shared: Shared
    has: frozenset[str]  # columns that are not absent, and further facts about each row

    def number(self, name: str) -> int:
        """Give a number."""
        value = self.shared[name]
        return value if isinstance(value, int) else 0

    def text(self, name: str) -> str | None:
        """Give a text, if there is one."""
        value = self.shared[name]
        return value if isinstance(value, str) else None

    @property
    def event_class(self) -> EventClass:
        """Give the class of the event; the base event for one that is not written here."""
        found = self.number("class_uid")
        return EventClass(found) if found in _BODIES else EventClass.BASE

    @property
    def call(self) -> str:
        """Give the call without the module that it is imported from."""
        return bare(str(self.shared["call"]))


def event(row: Row, source: Source) -> Object:
    """Give the event."""
    kind = row.event_class
    body = _BODIES[kind](row) if kind in _BODIES else {}
    is_host = kind in {EventClass.BASE, EventClass.NETWORK, EventClass.API}
    found = _classification(row, kind) | _times(row) | _outcome(row) | _decided(row)
    found["metadata"] = _metadata(row, source, is_host=is_host)
    found["actor"] = {"process": guest_process("exec_id:3", row.shared["module_id"])}
    found["device"] = {"type_id": 0, "type": "Unknown", "name": source.node}
    found |= body
    unmapped: Object = {}
    if "chunk" in row.has:
        found["attestation_list"] = [attestation(source.checkpoint, "exec_id:7")]
    else:
        unmapped["integrity"] = "not sealed when it was exported"
    found["unmapped"] = unmapped | _unmapped(row)
    return found


def classification(kind: EventClass, activity: int, other: str) -> Object:
    """Give class, category, activity and type; `other` names an activity that the schema does not."""
    captions = CAPTIONS[kind]
    if activity != 0 and activity not in captions.activities:
        activity = OTHER
    name = "Unknown" if activity == 0 else captions.activities.get(activity, other or "unnamed")
    return {
        "class_uid": int(kind),
        "class_name": captions.name,
        "category_uid": int(kind) // 1000,
        "category_name": captions.category,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": int(kind) * 100 + activity,
        "type_name": f"{captions.name}: {name}",
    }


def _classification(row: Row, kind: EventClass) -> Object:
    decision = row.number("decision")
    severity = 1
    if decision in {Decision.DENY, Decision.LIMIT}:
        severity = 3
    elif decision == Decision.OBSERVE or row.number("stage") == Stage.TRAP:
        severity = 2
    return classification(kind, row.number("activity_id"), row.call) | {
        "severity_id": severity,
        "severity": SEVERITIES[severity],
    }


def _times(row: Row) -> Object:
    found: Object = {"time": number("time")}
    if "many" in row.has:
        if "small_n" in row.has:
            found["count"] = number("n")
        found |= {"start_time": number("start"), "end_time": number("end"), "duration": number("span")}
    found["timezone_offset"] = 0
    return found


def _outcome(row: Row) -> Object:
    errno, decision = row.number("errno"), row.number("decision")
    if decision in {Decision.DENY, Decision.LIMIT}:
        status = 2
    elif errno == _MIXED:
        status = 99
    elif errno == _RETURNED_NOT:
        status = 1 if row.number("stage") == Stage.EXIT else 0  # `proc_exit` did what it was for
    else:
        status = 2 if errno else 1
    found: Object = {"status_id": status, "status": STATUSES[status], "status_code": str(errno)}
    reason = row.text("reason")
    words = _WORDS_OF_MESSAGE.get(Decision(decision)) if decision in WORDS else None
    if reason is not None:
        found["status_detail"] = reason
    why = "" if reason is None else f": {reason}"
    return found | {"message": f"{row.call} {words or 'was recorded without a decision'}{why}"}


def _decided(row: Row) -> Object:
    decision, disposition = row.number("decision"), row.number("disposition")
    action = 2 if decision == Decision.LIMIT else decision if decision in ACTIONS else 0
    policy: Object = {"uid": row.text("policy_id"), "type": "capability policy"}
    rule = row.text("rule_id")
    if rule is not None:
        policy["name"] = rule
    policy["is_applied"] = decision in {Decision.ALLOW, Decision.DENY, Decision.MODIFIED, Decision.LIMIT}
    known = disposition in DISPOSITIONS
    found: Object = {
        "action_id": action,
        "action": ACTIONS[action],
        "disposition_id": disposition if known else OTHER,
        "disposition": DISPOSITIONS[disposition] if known else str(disposition),
        "is_alert": decision in {Decision.DENY, Decision.LIMIT, Decision.OBSERVE},
        "policy": policy,
    }
    if rule is not None and row.event_class is EventClass.NETWORK:
        found["firewall_rule"] = {"uid": rule}
    return found


def _metadata(row: Row, source: Source, *, is_host: bool) -> Object:
    profiles = [_SECURITY, *([_HOST] if is_host else []), *([_INTEGRITY] if "chunk" in row.has else [])]
    stages = {Stage.EXIT: "exit", Stage.TRAP: "trap", Stage.SUMMARY: "summary"}
    stage = row.number("stage")
    found = product(source) | {
        "profiles": profiles,
        "uid": filled(mark("exec_id"), ":", mark("seq")),
    }
    if "small_seq" in row.has:
        found["sequence"] = number("seq:2")
    found |= {
        "correlation_uid": filled(mark("exec_id:2")),
        "original_time": filled(mark("original_time")),
        "tenant_uid": row.text("tenant_id"),
        "event_code": stages[Stage(stage)] if stage in set(Stage) else str(stage),
    }
    masked = labels(row.shared["masked"])
    return found | ({"labels": masked} if masked else {})


def product(source: Source) -> Object:
    """Give what the metadata of every event say of us."""
    return {
        "version": VERSION,
        "product": {"name": "wasmgate", "vendor_name": "wasmgate", "version": source.version},
        "log_name": "audit",
        "log_provider": "wasmgate",
        "log_version": SCHEMA_ID,
    }


def _unmapped(row: Row) -> Object:
    found: Object = {}
    for field in FIELDS:
        if not field.ocsf.startswith("unmapped."):
            continue
        if field.is_shared:
            value = row.shared[field.column]
            if field.column == "decision":
                found["decision"] = WORDS.get(row.number("decision"), "none")
            elif value != field.absent:
                found[field.column] = value
        elif field.column in row.has:
            name = f"{field.column}:u"
            is_number = field.column in {"fd", "fd2"}
            found[field.column] = number(name) if is_number else filled(mark(name))
    return found


def _file(row: Row) -> Object:
    found: Object = {"file": touched_file(row.call, has_path="path" in row.has)}
    if "target2" in row.has:
        found["file_result"] = resulting_file()
    return found


def _kernel(row: Row) -> Object:
    names = {"name": row.call, "type_id": 2, "type": "System Call", "system_call": row.text("call")}
    return {"kernel": names}


def _process(row: Row) -> Object:
    found: Object = {"process": guest_process("exec_id:4", row.shared["module_id"])}
    if row.call == "proc_exit" and "small_flags" in row.has:
        found["exit_code"] = number("flags")
    return found


def _module(row: Row) -> Object:
    process = guest_process("exec_id:4", row.shared["module_id"])
    return {"module": {"function_name": row.text("call"), "file": process["file"]}}


def _network(row: Row) -> Object:
    found: Object = {"src_endpoint": {"uid": filled(mark("exec_id:5"))}}
    endpoint, connection = peer(row.shared["address"])
    if endpoint is not None:
        found["dst_endpoint"] = endpoint
    if connection is not None:
        found["connection_info"] = connection
    return found | {"traffic": {"bytes_in": number("bytes_in"), "bytes_out": number("bytes_out")}}


def _api(row: Row) -> Object:
    request = {"uid": filled(mark("exec_id:6"), ":", mark("seq:3"))}
    return {
        "src_endpoint": {"uid": filled(mark("exec_id:5"))},
        "api": {"operation": row.text("call"), "request": request},
    }


_BODIES = {
    EventClass.FILE_SYSTEM: _file,
    EventClass.KERNEL: _kernel,
    EventClass.PROCESS: _process,
    EventClass.MODULE: _module,
    EventClass.NETWORK: _network,
    EventClass.API: _api,
}
