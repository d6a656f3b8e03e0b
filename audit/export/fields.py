"""Where each column goes in each form of export: the one table that forms, tests and the reference page read.

What a column means is docs/reference/records.md, its type in Parquet and Arrow `audit.columns`; CSV and
NDJSON call it by its name. INVARIANT: every column has a row here, in the order of the stored schema; the
OCSF path that is named first holds the exact value in every class of event.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.columns import SCHEMA, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column; `absent` is what it is where the OCSF path is missing from an event."""

    column: str
    ocsf: str
    also: tuple[str, ...] = ()  # further places that are made of it, and may be rounded or cut
    absent: int | str | None = None
    cef: str | None = None  # None: not in CEF
    cef_also: tuple[str, ...] = ()
    is_shared: bool = True  # of few values, so that many rows are alike in it
    is_digits: bool = False  # a number that may pass 2^53, so text in `unmapped`


def _number(column: str, *, absent: int | None, cef: str | None = None, **more: tuple[str, ...]) -> Field:
    """Describe a 64-bit number that OCSF has no exact field for."""
    return Field(
        column=column,
        ocsf=f"unmapped.{column}",
        absent=absent,
        cef=cef or _custom(column),
        is_shared=False,
        is_digits=True,
        also=more.get("also", ()),
        cef_also=more.get("cef_also", ()),
    )


def _plain(column: str, *, absent: int | str | None, is_shared: bool, also: tuple[str, ...] = ()) -> Field:
    """Describe a column that OCSF has no field for."""
    return Field(
        column=column,
        ocsf=f"unmapped.{column}",
        also=also,
        absent=absent,
        cef=_custom(column),
        is_shared=is_shared,
    )


def _custom(column: str) -> str:
    """Give a key of our own, as the rules of CEF for such keys want it: product first, then camel case."""
    return "wasmgate" + "".join(word.capitalize() for word in column.split("_"))


_FILE_PATH = "file.path"

FIELDS: tuple[Field, ...] = (
    Field(
        column="exec_id",
        ocsf="metadata.correlation_uid",
        also=("actor.process.uid", "metadata.uid", "attestation_list[].chain_uid"),
        cef="cs1",
        cef_also=("externalId",),
        is_shared=False,
    ),
    Field(
        column="seq",
        ocsf="unmapped.seq",
        also=("metadata.sequence", "metadata.uid"),
        cef=_custom("seq"),
        cef_also=("externalId",),
        is_shared=False,
        is_digits=True,
    ),
    Field(
        column="t_ns",
        ocsf="unmapped.t_ns",
        also=("time", "metadata.original_time", "start_time"),
        cef=_custom("t_ns"),
        cef_also=("rt", "start"),
        is_shared=False,
        is_digits=True,
    ),
    _number("dur_ns", absent=None),
    Field(column="stage", ocsf="unmapped.stage", also=("metadata.event_code",), cef=_custom("stage")),
    Field(column="tenant_id", ocsf="metadata.tenant_uid", cef="cs5"),
    Field(
        column="module_id",
        ocsf="actor.process.file.uid",
        also=("actor.process.file.hashes[0].value", "actor.process.file.name"),
        cef="cs2",
    ),
    Field(column="policy_id", ocsf="policy.uid", cef="cs3"),
    Field(column="rule_id", ocsf="policy.name", also=("firewall_rule.uid",), cef="cs4"),
    Field(
        column="call",
        ocsf="unmapped.call",
        also=("kernel.system_call", "api.operation", "module.function_name", "message"),
        cef=_custom("call"),
        cef_also=("Signature ID", "Name"),
    ),
    Field(
        column="class_uid",
        ocsf="unmapped.class_uid",
        also=("class_uid", "category_uid", "type_uid"),
        cef=_custom("class_uid"),
        cef_also=("cat",),
    ),
    Field(
        column="activity_id",
        ocsf="unmapped.activity_id",
        also=("activity_id", "type_uid"),
        cef=_custom("activity_id"),
    ),
    Field(
        column="decision",
        ocsf="unmapped.decision",
        also=("action_id", "severity_id", "is_alert"),
        cef="act",
        cef_also=("Severity",),
    ),
    Field(
        column="disposition",
        ocsf="unmapped.disposition",
        also=("disposition_id",),
        cef=_custom("disposition"),
    ),
    Field(column="errno", ocsf="status_code", also=("status_id",), cef="cn2", cef_also=("outcome",)),
    Field(column="reason", ocsf="status_detail", cef="reason"),
    _plain("right", absent=None, is_shared=True),
    _plain("fd", absent=-1, is_shared=False),
    _plain("fd2", absent=-1, is_shared=False),
    _plain("target_kind", absent=0, is_shared=True),
    _plain(
        "target",
        absent=None,
        is_shared=False,
        also=(_FILE_PATH, "file.name", "dst_endpoint.ip", "dst_endpoint.port", "dst_endpoint.hostname"),
    ),
    _plain("guest_target", absent=None, is_shared=False, also=(_FILE_PATH, "file.name")),
    _plain("target2", absent=None, is_shared=False, also=("file_result.path", "file_result.name")),
    _number("flags", absent=0, also=("exit_code",)),
    _number("bytes_in", absent=0, cef="in", also=("traffic.bytes_in",)),
    _number("bytes_out", absent=0, cef="out", also=("traffic.bytes_out",)),
    _number("n", absent=1, cef="cnt", also=("count",)),
    _number("opener_seq", absent=-1),
    _number("t_last_ns", absent=None, also=("end_time",), cef_also=("end",)),
    _number("dur_max_ns", absent=None),
    _plain("errnos", absent=None, is_shared=False),
    _plain("masked", absent=0, is_shared=True, also=("metadata.labels",)),
    Field(column="payload", ocsf="unmapped.payload", is_shared=False),
    _plain("payload_sha256", absent=None, is_shared=False),
)

assert [field.column for field in FIELDS] == SCHEMA.names

OF: dict[str, Field] = {field.column: field for field in FIELDS}
SHARED = tuple(field.column for field in FIELDS if field.is_shared)
"""Columns that lines are grouped by."""

CEF_LABELS = {
    "cs1": "execution",
    "cs2": "module",
    "cs3": "policy",
    "cs4": "rule",
    "cs5": "tenant",
    "cn2": "errno",
}
"""What CEF's fields for one's own use hold."""

SEVERITY = {
    Decision.DENY: 6,
    Decision.LIMIT: 7,
    Decision.OBSERVE: 4,
}
"""CEF severity, 0 to 10, of what was refused."""
