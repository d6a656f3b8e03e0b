"""Refusals are sent in order from a durable position: nothing is left out but what a notice tells of."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from audit.followers import refusals
from audit.followers.errors import SinkError
from audit.followers.exchange import endpoint
from audit.followers.follower import LONGEST_WAIT_S, Follower, Step
from audit.followers.otlp import OtlpSink
from audit.followers.refusals import Forwarding
from audit.followers.state import State, StateFile
from audit.followers.webhook import RefusalHook
from audit.times import to_rfc3339
from tests.export_rows import row, table
from tests.receivers import http_receiver
from tests.records import T0, start
from tests.sealed_logs import SealedLog, small_log

HOSTILE = 'a\n\r\x00]"\\\u2028\u202e\x1b[31m<13>1 - - - - - -\n40 x'


class Kept:
    """A sink that keeps what it is given; `fails` calls fail first, having taken it or not."""

    def __init__(self, *, takes_and_fails=()):
        self.rows, self.notices, self.sizes = [], [], []
        self.calls = 0
        self.takes_and_fails = set(takes_and_fails)

    @property
    def keys(self):
        return [f"{one['exec_id']}:{one['seq']}" for one in self.rows]

    def send(self, batch):
        self.calls += 1
        self.sizes.append(batch.rows.num_rows)
        self.rows += list(refusals.rows_of(batch))
        self.notices += batch.notices
        if self.calls in self.takes_and_fails:
            raise SinkError("kept", "it took it, and said nothing")
        return 0


def refused(of, count, *, first=0, t_ns=T0, **changes):
    return table(
        [
            row(exec_id=of.exec_id, seq=first + at, t_ns=t_ns + at, decision=2, errno=76, **changes)
            for at in range(count)
        ]
    )


def denied_keys(log):
    found = []
    for path in sorted(log.folder.glob("seg/**/*.deny.parquet"), key=lambda one: one.name):
        found += [f"{one['exec_id']}:{one['seq']}" for one in pq.read_table(path).to_pylist()]
    return found


def drained(work, state=None):
    state = state or State()
    while (after := work.step(state)) is not None:
        state = after
    return state


def test_every_refusal_is_sent_once_in_the_order_of_the_log(tmp_path):
    log, sink = small_log(tmp_path), Kept()
    state = drained(Forwarding(log.folder, log.log, sink))
    assert sink.keys == denied_keys(log)
    assert len(sink.keys) > 20
    assert (state.leaf, state.root) == (log.log.size, log.log.root().hex())
    assert {one["decision"] for one in sink.rows} <= {"deny", "would_deny", "limit", "allow", "none"}


def test_what_is_sealed_later_follows_without_a_repetition(tmp_path):
    log, sink = SealedLog.create(tmp_path), Kept()
    of = start(number=1)
    work = Forwarding(log.folder, log.log, sink)
    assert work.step(State()) is None
    log.seal([(of, refused(of, 3))])
    state = drained(work)
    log.seal([(of, refused(of, 2, first=3))])
    drained(Forwarding(log.folder, log.log, sink), state)
    assert sink.keys == [f"{of.exec_id}:{at}" for at in range(5)]


def test_a_large_segment_is_sent_in_bounded_batches(tmp_path):
    log, sink = SealedLog.create(tmp_path), Kept()
    of = start(number=1)
    log.seal([(of, refused(of, 1_203))])
    drained(Forwarding(log.folder, log.log, sink))
    assert sink.sizes == [500, 500, 203]
    assert len(set(sink.keys)) == 1_203


@pytest.mark.parametrize("crash", range(1, 4))
def test_a_crash_after_a_batch_was_taken_gives_duplicates_and_no_loss(tmp_path, crash):
    log, sink = SealedLog.create(tmp_path), Kept(takes_and_fails={crash})
    of = start(number=1)
    log.seal([(of, refused(of, 1_203))])
    file = StateFile(tmp_path / "state", "a")
    while True:  # each step by a process of its own
        follower = Follower(Forwarding(log.folder, log.log, sink), file)
        if follower.step() is Step.IDLE:
            break
    assert sorted(set(sink.keys)) == sorted(f"{of.exec_id}:{at}" for at in range(1_203))
    assert len(sink.keys) == 1_203 + sink.sizes[crash - 1]


def test_a_state_that_cannot_be_read_means_that_all_is_sent_again(tmp_path):
    log, sink = small_log(tmp_path), Kept()
    file = StateFile(tmp_path / "state", "a")
    follower = Follower(Forwarding(log.folder, log.log, sink), file)
    while follower.step() is Step.SENT:
        pass
    file.path.write_bytes(b"{")
    again = Follower(Forwarding(log.folder, log.log, sink), file)
    assert "could not be read" in (again.state.problem or "")
    while again.step() is Step.SENT:
        pass
    assert sink.keys == 2 * denied_keys(log)
    assert again.state.problem is None


def test_a_failure_is_tried_again_later_and_later_up_to_a_cap(tmp_path):
    class Dead:
        def step(self, state: State) -> State | None:
            raise SinkError("there", f"nobody answers after leaf {state.leaf}")

    now = [0.0]
    follower = Follower(Dead(), StateFile(tmp_path, "a"), clock=lambda: now[0])
    waits = []
    for _ in range(12):
        assert follower.step() is Step.FAILED
        waits.append(follower.wait_s)
        now[0] += follower.wait_s
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_WAIT_S
    assert StateFile(tmp_path, "a").load() == State(failures=12, problem="there: nobody answers after leaf 0")


def test_a_segment_that_was_deleted_before_it_was_sent_is_told_of(tmp_path):
    log, sink = small_log(tmp_path), Kept()
    gone = min(log.folder.glob("seg/**/*.deny.parquet"))
    lost = [f"{one['exec_id']}:{one['seq']}" for one in pq.read_table(gone).to_pylist()]
    gone.unlink()
    drained(Forwarding(log.folder, log.log, sink))
    (notice,) = sink.notices
    assert notice.word == "deleted"
    assert "were deleted before they were sent" in notice.text
    assert set(sink.keys) == set(denied_keys(log))
    assert not set(sink.keys) & set(lost)


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_files_that_cannot_be_read_are_told_of_and_hold_nothing_up(tmp_path, content):
    log, sink = small_log(tmp_path), Kept()
    if content is None:
        path = min(log.folder.glob("seg/**/*.manifest.json"))
        path.write_bytes(path.read_bytes().replace(b'"rows":', b'"rows" :'))
    else:
        min(log.folder.glob("seg/**/*.deny.parquet")).write_bytes(content)
    drained(Forwarding(log.folder, log.log, sink))
    assert [one.word for one in sink.notices] == ["damage"]
    assert sink.keys


def test_a_gap_in_the_log_is_told_of(tmp_path):
    log, sink = SealedLog.create(tmp_path), Kept()
    exec_id = start(number=1).exec_id
    log.append(
        {"type": "gap", "v": 1, "at": to_rfc3339(T0), "exec_id": exec_id, "first": 3, "last": 9, "reason": "a disk"},
        {"type": "event", "v": 1, "at": to_rfc3339(T0), "id": "d", "event": "damage", "actor": "sealer", "tenant": None, "details": {}},
        {"type": "event", "v": 1, "at": to_rfc3339(T0), "id": "e", "event": "read", "actor": "a", "tenant": None, "details": {}},
    )  # fmt: skip
    drained(Forwarding(log.folder, log.log, sink))
    assert [(one.word, one.key) for one in sink.notices] == [
        ("gap", f"gap:{exec_id}:3:9"),
        ("damage", "event:d"),
    ]
    assert sink.notices[0].text == f"records 3 to 9 of execution {exec_id} are missing: a disk"


def test_another_log_in_its_place_is_told_of_and_followed_from_its_beginning(tmp_path):
    first, sink = small_log(tmp_path / "one"), Kept()
    state = drained(Forwarding(first.folder, first.log, Kept()))
    other = SealedLog.create(tmp_path / "two")
    of = start(number=9)
    other.seal([(of, refused(of, 2))])
    drained(Forwarding(other.folder, other.log, sink), state)
    assert [one.word for one in sink.notices] == ["restart"]
    assert sink.keys == [f"{of.exec_id}:0", f"{of.exec_id}:1"]


def test_a_limit_leaves_out_and_says_how_many(tmp_path):
    log = SealedLog.create(tmp_path)
    of = start(number=1)
    rows = [refused(of, 700, t_ns=T0), refused(of, 3, first=700, t_ns=T0 + 2 * 10**9)]
    log.seal([(of, rows[0]), (start(number=2), refused(start(number=2), 3, t_ns=T0 + 2 * 10**9))])
    sink = Kept()
    drained(Forwarding(log.folder, log.log, sink, most_per_second=5))
    assert len(sink.keys) == 8
    (notice,) = sink.notices
    assert (notice.word, notice.count) == ("suppressed", 695)
    # the same when it is asked again: a crash changes no count
    again = Kept()
    drained(Forwarding(log.folder, log.log, again, most_per_second=5))
    assert (again.keys, again.notices) == (sink.keys, sink.notices)
    under = Kept()
    drained(Forwarding(log.folder, log.log, under, most_per_second=700))
    assert (len(under.keys), under.notices) == (703, [])


def sent_over(tmp_path, make, answer=None, **changes):
    log = SealedLog.create(tmp_path)
    of = start(number=1)
    log.seal([(of, refused(of, 3, target=HOSTILE, **changes))])
    with http_receiver(answer) as receiver:
        work = Forwarding(log.folder, log.log, make(endpoint(f"{receiver.url}/v1/logs")), most_per_second=2)
        state = drained(work)
    return receiver.got, state, of


def test_a_webhook_gets_lines_with_keys(tmp_path):
    (got,), _, of = sent_over(tmp_path, RefusalHook)
    lines = [json.loads(line) for line in got.body.decode().split("\n")[:-1]]
    assert [line["key"] for line in lines] == [f"{of.exec_id}:0", f"{of.exec_id}:1", "suppressed:0"]
    assert lines[0]["target"] == HOSTILE
    assert (lines[2]["notice"], lines[2]["count"]) == ("suppressed", 1)
    assert got.headers["content-type"] == "application/x-ndjson"


def test_the_same_batch_has_the_same_idempotency_key(tmp_path):
    answers = iter([(503, "text/plain", b""), (200, "text/plain", b"")])
    log = SealedLog.create(tmp_path)
    of = start(number=1)
    log.seal([(of, refused(of, 3))])
    with http_receiver(lambda _got: next(answers)) as receiver:
        follower = Follower(
            Forwarding(log.folder, log.log, RefusalHook(endpoint(receiver.url))),
            StateFile(tmp_path / "s", "a"),
        )
        assert [follower.step(), follower.step()] == [Step.FAILED, Step.SENT]
    assert receiver.got[0].body == receiver.got[1].body
    assert len({got.headers["idempotency-key"] for got in receiver.got}) == 1


def test_a_collector_gets_records_that_the_official_definition_reads(tmp_path):
    (got,), state, of = sent_over(tmp_path, lambda to: OtlpSink(to, now_ns=lambda: 7))
    assert (got.path, got.headers["content-type"]) == ("/v1/logs", "application/json")
    request = json_format.Parse(got.body, ExportLogsServiceRequest())
    (scope,) = request.resource_logs[0].scope_logs
    attributes = [{one.key: one.value for one in record.attributes} for record in scope.log_records]
    uids = [each["log.record.uid"].string_value for each in attributes]
    assert uids == [f"{of.exec_id}:0", f"{of.exec_id}:1", "suppressed:0"]
    assert attributes[0]["wasmgate.target"].string_value == HOSTILE
    assert attributes[2]["wasmgate.suppressed"].int_value == 1
    assert state.rejected == 0


@pytest.mark.parametrize(
    ("body", "rejected"),
    [(b'{"partialSuccess":{"rejectedLogRecords":"2"}}', 2), (b"{}", 0), (b"", 0), (b"[" * 99_999, 0), (b"[]", 0),
     (b'{"partialSuccess":{"rejectedLogRecords":-5}}', 0), (b'{"partialSuccess":7}', 0)],
)  # fmt: skip
def test_what_a_collector_rejects_is_counted_and_not_sent_again(tmp_path, body, rejected):
    got, state, _ = sent_over(tmp_path, OtlpSink, lambda _got: (200, "application/json", body[:60_000]))
    assert (len(got), state.rejected) == (1, rejected)


@pytest.mark.parametrize("status", [204, 301, 400, 401, 429, 500, 503])
def test_no_other_answer_of_a_collector_counts(tmp_path, status):
    with pytest.raises(SinkError, match=f"answered {status}"):
        sent_over(tmp_path, OtlpSink, lambda _got: (status, "text/plain", b""))


def test_a_row_has_a_key_that_is_text():
    assert re.fullmatch(r"[0-9a-f-]{36}:0", refusals.key_of_row(row()))


def test_a_state_is_kept_as_it_is(tmp_path):
    file = StateFile(tmp_path, "a")
    state = replace(State(), leaf=3, row=2, root="ab", done_at_s=9, rejected=1, failures=2, problem="x\n")
    file.save(state)
    assert file.load() == state
    assert StateFile(tmp_path, "b").load() == State()
