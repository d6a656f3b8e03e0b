"""A manifest says what was written, of exactly the bytes that were written."""

from __future__ import annotations

import hashlib
import io
import json
from typing import BinaryIO, cast

import pyarrow.parquet as pq
import pytest

from audit.columns import Masked
from audit.export.evidence import ChunkHash, NoEvidence
from audit.export.make import Form, Request, export, export_rows, media_type, suffix
from audit.export.manifest import asked
from audit.filters import RecordFilter
from tests.export_rows import T0, every_call_decision_and_stage, row, table

REQUEST = Request(made_by="user:ada(1000)", made_at_ns=T0)


class Sealed:
    tree_size = 12

    def checkpoint(self):
        return "wasmgate.example/log\n12\nAAAA\n\n— wasmgate.example/log AbCd\n"

    def chunk_of(self, _exec_id, seq):
        return ChunkHash(0, 127, bytes(32)) if seq < 128 else None


class Reader:
    """Rows in batches, whatever is wanted."""

    def __init__(self, rows):
        self.rows = rows
        self.wanted = None

    def batches(self, wanted):
        self.wanted = wanted
        yield from table(self.rows).to_batches(max_chunksize=50)


def made(rows, form, *, request=REQUEST, evidence=None, wanted=None):
    out = io.BytesIO()
    manifest = export(
        Reader(rows),
        wanted or RecordFilter(),
        form=form,
        out=out,
        evidence=evidence or NoEvidence(),
        request=request,
    )
    return manifest, out.getvalue()


@pytest.mark.parametrize("form", Form)
def test_digest_and_size_are_those_of_the_file(form):
    rows = every_call_decision_and_stage()
    manifest, content = made(rows, form)
    assert manifest.sha256 == hashlib.sha256(content).hexdigest()
    assert manifest.size_bytes == len(content)
    assert manifest.is_complete
    assert manifest.media_type == media_type(form)
    assert manifest.rows + manifest.left_out == len(rows)
    assert (manifest.left_out > 0) == (form is Form.CEF)
    assert suffix(form).startswith(".")


@pytest.mark.parametrize("form", Form)
def test_no_rows_are_an_export_too(form):
    manifest, _ = made([], form)
    assert (manifest.rows, manifest.calls, manifest.t_min_ns, manifest.tenants) == (0, 0, None, ())


def test_calls_times_tenants_and_masks_are_counted():
    rows = [
        row(n=9, t_last_ns=T0 + 5, tenant_id="b", masked=int(Masked.TARGET)),
        row(t_ns=T0 - 3, tenant_id="a", masked=int(Masked.PAYLOAD)),
    ]
    manifest, _ = made(rows, Form.NDJSON)
    assert (manifest.calls, manifest.t_min_ns, manifest.t_max_ns) == (10, T0 - 3, T0 + 5)
    assert manifest.tenants == ("a", "b")
    assert manifest.masked == ("target", "payload")


def test_what_cef_leaves_out_is_not_told_of():
    rows = [row(decision=2, tenant_id="a"), row(tenant_id="b", masked=1)]
    manifest, _ = made(rows, Form.CEF)
    assert (manifest.tenants, manifest.masked, manifest.calls, manifest.left_out) == (("a",), (), 1, 1)
    assert manifest.wanted == {"refusals_only": True}
    everything, _ = made(rows, Form.CEF, request=Request(made_by="x", made_at_ns=T0, is_all=True))
    assert (everything.tenants, everything.left_out, everything.wanted) == (("a", "b"), 0, {})


@pytest.mark.parametrize(
    ("limit", "kept", "is_complete"),
    [(1, 1, False), (7, 7, False), (119, 119, False), (120, 120, True), (999, 120, True)],
)
def test_a_limit_cuts_and_says_so(limit, kept, is_complete):
    manifest, content = made(
        [row(seq=seq) for seq in range(120)],
        Form.PARQUET,
        request=Request(made_by="x", made_at_ns=T0, limit=limit),
    )
    assert pq.read_table(io.BytesIO(content)).column("seq").to_pylist() == list(range(kept))
    assert (manifest.rows, manifest.is_complete, manifest.cut) == (
        kept,
        is_complete,
        None if is_complete else f"limit of {limit} rows",
    )


def test_the_manifest_is_canonical_and_holds_the_checkpoint_and_the_filter():
    wanted = RecordFilter(call="path_*", from_ns=T0, limit=3, tenants=("b", "a"))
    manifest, _ = made([row()], Form.OCSF, evidence=Sealed(), wanted=wanted)
    raw = manifest.to_json()
    read = json.loads(raw)
    assert raw == json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    assert read["schema"] == "wasmgate.export.v1"
    assert read["filter"] == {"call": "path_*", "from_ns": str(T0), "tenants": "a,b"}
    assert (read["tree_size"], read["checkpoint"]) == (12, Sealed().checkpoint())
    assert read["made_at"] == "2026-11-18T11:06:40.123456789Z"
    assert manifest.digest == hashlib.sha256(raw).hexdigest()


def test_rows_that_are_not_sealed_are_counted():
    rows = [row(seq=seq) for seq in (0, 5, 127, 128, 300)]
    assert made(rows, Form.OCSF, evidence=Sealed())[0].unsealed == 2
    assert made(rows, Form.OCSF)[0].unsealed is None
    assert made(rows, Form.CSV, evidence=Sealed())[0].unsealed is None


def test_the_log_is_told_the_digests():
    manifest, content = made([row()], Form.CSV)
    details = manifest.details()
    assert details["sha256"] == hashlib.sha256(content).hexdigest()
    assert details["manifest_sha256"] == manifest.digest
    assert all(isinstance(value, (str, int, type(None))) for value in details.values())


def test_all_columns_are_written_whatever_columns_were_asked_for():
    reader = Reader([row()])
    export(
        reader,
        RecordFilter(fields=("seq",)),
        form=Form.CSV,
        out=io.BytesIO(),
        evidence=NoEvidence(),
        request=REQUEST,
    )
    assert reader.wanted == RecordFilter()


class Trickle(io.RawIOBase):
    """Takes few bytes at a time, as a socket may."""

    def __init__(self):
        self.taken = bytearray()

    def writable(self):
        return True

    def write(self, content):
        self.taken += bytes(content[:100])
        return len(content[:100])


@pytest.mark.parametrize("form", Form)
def test_a_sink_that_takes_little_at_a_time_gets_everything(form):
    sink = Trickle()
    rows = [row(seq=seq) for seq in range(50)]
    manifest = export_rows(
        iter([table(rows)]), {}, form=form, out=cast("BinaryIO", sink), evidence=NoEvidence(), request=REQUEST
    )
    assert hashlib.sha256(sink.taken).hexdigest() == manifest.sha256


class Full(io.RawIOBase):
    def writable(self):
        return True

    def write(self, _content):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("form", Form)
def test_a_sink_that_fails_fails_the_export(form):
    with pytest.raises(OSError, match="No space"):
        export_rows(
            iter([table([row(decision=2)])]),
            {},
            form=form,
            out=cast("BinaryIO", Full()),
            evidence=NoEvidence(),
            request=REQUEST,
        )


def test_rows_are_handed_on_before_all_are_read():
    seen = []

    class Watched(io.BytesIO):
        def write(self, content):
            seen.append(len(given))
            return super().write(content)

    given = []

    def rows():
        for at in range(3):
            given.append(at)
            yield table([row(seq=at)])

    export_rows(rows(), {}, form=Form.NDJSON, out=Watched(), evidence=NoEvidence(), request=REQUEST)
    assert seen == [1, 2, 3]


def test_a_filter_is_told_without_what_chooses_no_records():
    assert asked(RecordFilter(limit=5, fields=("seq",))) == {}
    assert asked(RecordFilter(decision="deny", errno=76)) == {"decision": "deny", "errno": 76}
