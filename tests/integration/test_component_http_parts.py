"""What requests of components are put together of, beside what the engine makes of it; nothing is sent."""

from __future__ import annotations

from pathlib import Path

import wasmtime

from audit.receipt import OutcomeKind
from tests.component_scripts import RESULT, ComponentScript
from tests.components import run_bare
from tests.http_runs import run
from tests.http_scripts import EXTRA, FIELDS, FUTURE, REQUEST, RESPONSE
from tests.runs import Log, policy


def put_together() -> ComponentScript:  # noqa: PLR0915  # a list
    """Calls on headers, requests and options, of which nothing is ever sent."""
    script = ComponentScript()
    call = script.call
    call("fields.new", into="file")
    for name, value in ((b"Accept", b"a"), (b"accept", b"b"), (b"X-Y", b""), (b"a b", b"x"), (b"host", b"x")):
        call("fields.append", FIELDS, name, value)
    for name in (b"ACCEPT", b"x-y", b"none", b"a b"):
        call("fields.has", FIELDS, name, keep="0:1")
        call("fields.get", FIELDS, name, keep="4:4")
    call("fields.get", FIELDS, b"accept")
    script.do(f"(call $keep (i32.load offset=8 (i32.load (i32.const {RESULT}))) (i32.const 1))")
    script.do("(i32.store (i32.const 2048) (i32.const 3000)) (i32.store (i32.const 2052) (i32.const 2))")
    script.do("(i32.store (i32.const 2056) (i32.const 3002)) (i32.store (i32.const 2060) (i32.const 1))")
    script.do("(i32.store (i32.const 3000) (i32.const 0x7a7978))")
    for name in (b"accept", b"new", b"connection", b"(x)"):
        call("fields.set", FIELDS, name, 2_048, 2)
        call("fields.get", FIELDS, name, keep="4:4")
    call("fields.delete", FIELDS, b"X-y")
    call("fields.delete", FIELDS, b"upgrade")
    call("fields.entries", FIELDS, keep="4:4")
    call("fields.clone", FIELDS, into="other")
    call("fields.delete", FUTURE, b"accept")
    call("fields.entries", FUTURE, keep="4:4")
    call("fields.entries", FIELDS, keep="4:4")
    call("outgoing-request.new", FIELDS, into="stream")
    call("outgoing-request.method", REQUEST, keep="0:1")
    call("outgoing-request.scheme", REQUEST, keep="0:1")
    call("outgoing-request.authority", REQUEST, keep="0:1")
    call("outgoing-request.path-with-query", REQUEST, keep="0:1")
    call("outgoing-request.set-method", REQUEST, 4, 0, 0, keep="0:1")
    call("outgoing-request.method", REQUEST, keep="0:1")
    for method in (b"LIST", b"A B", b""):
        call("outgoing-request.set-method", REQUEST, 9, method, keep="0:1")
    call("outgoing-request.method", REQUEST, keep="0:1 list@4")
    call("outgoing-request.set-scheme", REQUEST, 1, 1, 0, 0, keep="0:1")
    call("outgoing-request.scheme", REQUEST, keep="0:1 4:1")
    call("outgoing-request.set-scheme", REQUEST, 0, 0, 0, 0, keep="0:1")
    call("outgoing-request.scheme", REQUEST, keep="0:1")
    call("outgoing-request.set-authority", REQUEST, 1, b"example.com:8080", keep="0:1")
    call("outgoing-request.authority", REQUEST, keep="0:1 list@4")
    call("outgoing-request.set-path-with-query", REQUEST, 1, b"/a?b=c", keep="0:1")
    call("outgoing-request.path-with-query", REQUEST, keep="0:1 list@4")
    call("outgoing-request.headers", REQUEST, into="file")
    call("fields.append", FIELDS, b"a", b"b")
    call("fields.drop", FIELDS)
    call("outgoing-request.body", REQUEST, into="extra")
    call("outgoing-request.body", REQUEST)
    call("outgoing-body.write", EXTRA, into="file")
    call("outgoing-body.write", EXTRA)
    call("output-stream.drop", FIELDS)
    call("outgoing-body.drop", EXTRA)
    call("outgoing-request.drop", REQUEST)
    call("request-options.new", into="dir")
    for what in ("connect", "first-byte", "between-bytes"):
        call(f"request-options.{what}-timeout", RESPONSE, keep="0:1")
        call(f"request-options.set-{what}-timeout", RESPONSE, 1, "(i64.const 77)", keep="0:1")
        call(f"request-options.{what}-timeout", RESPONSE, keep="0:1 8:8")
    call("request-options.drop", RESPONSE)
    return script


def test_requests_are_put_together_as_the_engine_does(shared: Log, tmp_path: Path) -> None:
    script = put_together()
    data, out = script.component(), tmp_path / "out"
    config = wasmtime.WasiConfig()
    config.stdout_file = str(out)
    run_bare(data, config, has_http=True)
    execution = shared.run(data, policy())
    assert execution.receipt.outcome.kind is OutcomeKind.EXITED, execution.receipt.outcome
    ours, theirs = script.told(execution.stdout), script.told(out.read_bytes())
    assert len(ours) == len(theirs) == len(script.names)
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []


def test_fields_are_checked_where_they_are_set(shared: Log) -> None:
    script = ComponentScript()
    call = script.call
    call("fields.new", into="file")
    for name, value in (
        (b"a b", b"x"),
        (b"", b"x"),
        (b"a", b"x\ny"),
        (b"Host", b"x"),
        (b"Upgrade", b"x"),
        (b"a", b""),
    ):
        call("fields.append", FIELDS, name, value)
    call("outgoing-request.new", FIELDS, into="stream")
    for method in (b"A B", b"", b"LIST"):
        call("outgoing-request.set-method", REQUEST, 9, method)
        script.do(f"(call $tell (i32.load8_u (i32.const {RESULT})))")
    told, _, _ = run(shared, script, policy())
    syntax, forbidden, fine = b"\x01\x00", b"\x01\x01", b"\x00"
    assert told["fields.append"] == [syntax, syntax, syntax, forbidden, forbidden, fine]


def test_what_answers_requests_may_be_imported_and_ends_who_calls_it(shared: Log) -> None:
    component = serving_component()
    execution = shared.run(component, policy())
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED


def serving_component() -> bytes:
    return bytes(
        wasmtime.wat2wasm("""(component
(import "wasi:http/types@0.2.6" (instance $http
  (export "response-outparam" (type $out (sub resource)))))
(alias export $http "response-outparam" (type $out))
(core func $drop (canon resource.drop $out))
(core module $M (import "h" "drop" (func $drop (param i32)))
  (func (export "run") (result i32) (call $drop (i32.const 1)) (i32.const 0)))
(core instance $m (instantiate $M (with "h" (instance (export "drop" (func $drop))))))
(alias core export $m "run" (core func $run))
(func $lifted (result (result)) (canon lift (core func $run)))
(instance $exported (export "run" (func $lifted)))
(export "wasi:cli/run@0.2.6" (instance $exported)))""")
    )
