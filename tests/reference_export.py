"""The reference of exports, as Markdown: made from the table of fields, the forms and an example of each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa

from audit.columns import SCHEMA
from audit.export import arrow, cef, csv, ndjson, ocsf, parquet
from audit.export.fields import CEF_LABELS, FIELDS, Field
from audit.export.otlp import log_record
from audit.export.syslog import Sender, message
from audit.ocsf import VERSION
from tests.export_rows import row, table

EXAMPLE = row(
    seq=4, activity_id=14, decision=2, disposition=2, errno=76, reason="escape", rule_id="default", fd2=-1, target="/etc/passwd",
    guest_target="/in/../../etc/passwd",
)  # fmt: skip
TOLD = {
    "csv": "RFC 4180 with a header. Safe to open in a spreadsheet, see below.",
    "ndjson": "One JSON object a line, as `wasmgate audit query --output ndjson` prints it. Numbers are exact 64-bit integers: a reader that keeps numbers as doubles rounds `t_ns`.",
    "parquet": "The types of the stored records, compressed with Zstandard.",
    "arrow": "An Arrow IPC stream; text columns are dictionary coded, and a batch may replace a dictionary.",
    "ocsf": f"Events of OCSF {VERSION}, one JSON object a line.",
    "cef": "`CEF:0` lines of what was refused or stopped within a call; `--all` writes every record.",
}
HEAD = """# Exports and their fields

This page is made from the table in `audit/export/fields.py`; `--accept-golden` writes it.
`wasmgate audit export` writes an export, and [Records](records.md) says what the columns mean.

## Forms

| Form | Media type | File | What it is |
|---|---|---|---|"""
CSV = """
## How text is written in CSV, CEF and syslog

A backslash is doubled.
A character that could act on a terminal, end a line or hide becomes `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`.
So a record is one line, and its text can be turned back exactly.
Paths as they are stored have escapes of their own (see [Records](records.md)), so a backslash that the guest wrote appears four times.

In CSV:

- text is quoted, numbers are not; null is an empty cell and an empty text is `""`; an empty payload can't be told from none;
- text that a spreadsheet could take for a formula has an apostrophe in front: where blanks and quotes are followed by `=`, `+`, `-`, `@` (or one of their wide forms) or an apostrophe; take one apostrophe away to read it;
- a `,`, `;` or `|` before such a sign is written as `\\x2c`, `\\x3b` or `\\x7c`, for programs that split at another separator.

In CEF, `\\` and `=` in values and `|` in the header have a backslash on top of that, and a blank at either end of a value is `\\x20`.

In OCSF and NDJSON such characters are `\\uNNNN` of JSON, and any parser gives the stored text.
"""
OCSF = f"""
## OCSF

Events are checked against the definitions of OCSF {VERSION}.
Each has the profile `security_control`, `host` where its class wants it for `actor` and `device`, and `record_integrity` where it is proved.

- The first place of a column in the table has its exact value; further places are made of it, and may be rounded or cut.
- A 64-bit number under `unmapped` is text.
- A column that is not in an event, or in a line of CEF, has the value in the column *if absent*.
- `count`, `start_time`, `end_time` and `duration` are there only where a row stands for several calls: that is what OCSF 1.9 keeps them for. How long one call took is `unmapped.dur_ns`.
- `metadata.sequence`, `count` and `exit_code` are left out where they don't fit 32 bits; `unmapped` has them.
- Severity is 3 for what was refused, 2 for what would have been refused or never returned, else 1.
- A decision `limit` is the action Denied.
- `device` has no more than a name, as no record says on what machine it was made.

`attestation_list` holds one entry, if the checkpoint of the log covers the record.
`fingerprint` is the hash of the chunk of records that holds it, with the serialisation `wasmgate.chunk.v1`: SHA-256 over a zero byte and the canonical records.
`signatures` names the signed checkpoint by its digest; the checkpoint itself is in the manifest of the export.
Neither is computed over the event as JSON: they prove the record that the event was made of.
Where there is no entry, `unmapped.integrity` says why.

The log's own events are Event Log Activity 1008 (audit on and off, reads, exports, deletions, holds, damage, gaps) and Entity Management 3004 (policies and keys).
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD, *_forms(), "", "## Fields", ""]
    lines += [
        "| Column | Parquet and Arrow | OCSF | also in | if absent | CEF | also in |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(field) for field in FIELDS]
    lines += ["", "CSV and NDJSON call a field by its column; `decision` is a word, bytes are hexadecimal."]
    labels = ", ".join(f"`{key}Label={word}`" for key, word in CEF_LABELS.items())
    lines += [
        f"CEF has the labels {labels}.",
        CSV.rstrip(),
        OCSF.rstrip(),
        "",
        "## The same record in each form",
        *_examples(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _forms() -> Iterator[str]:
    for form in (csv, ndjson, parquet, arrow, ocsf, cef):
        yield f"| `{form.NAME}` | `{form.MEDIA_TYPE}` | `*{form.SUFFIX}` | {TOLD[form.NAME]} |"


def _line(field: Field) -> str:
    kind = SCHEMA.field(field.column).type
    name = "text" if pa.types.is_dictionary(kind) else str(kind)
    absent = (
        "" if field.ocsf.startswith(("metadata.", "actor.", "status_code", "policy.uid")) else _absent(field)
    )
    also = ", ".join(f"`{each}`" for each in field.also)
    cef_also = ", ".join(f"`{each}`" for each in field.cef_also)
    key = "" if field.cef is None else f"`{field.cef}`"
    return f"| `{field.column}` | {name} | `{field.ocsf}` | {also} | {absent} | {key} | {cef_also} |"


def _absent(field: Field) -> str:
    always = (
        field.is_shared
        and field.absent is None
        and field.column in {"stage", "call", "class_uid", "activity_id", "decision", "disposition"}
    )
    if always or field.column in {"seq", "t_ns"}:
        return ""
    if field.column == "t_last_ns":
        return "as `t_ns`"
    return "null" if field.absent is None else str(field.absent)


def _examples() -> Iterator[str]:
    rows = table([EXAMPLE])
    for form, kind in ((csv, "text"), (ndjson, "json"), (ocsf, "json"), (cef, "text")):
        out = io.BytesIO()
        form.write(iter([rows]), out)
        text = out.getvalue().decode().strip().replace("\r\n", "\n")
        if kind == "json":
            text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
        yield from ("", f"### {form.NAME}", "", f"```{kind}", text, "```")
    told = EXAMPLE | {"decision": "deny"}
    sent = message(told, Sender(hostname="sandbox.example")).decode("utf-8-sig")
    yield from ("", "### A message of syslog", "", "```text", sent, "```")
    record = json.dumps(
        log_record(told, observed_ns=EXAMPLE["t_ns"] + 1_000_000), indent=1, ensure_ascii=False
    )
    yield from ("", "### A log record of OTLP", "", "```json", record, "```")
