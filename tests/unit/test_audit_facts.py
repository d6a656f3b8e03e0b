"""Records counted by what decides them are what a plain count of every row gives."""

from __future__ import annotations

from collections import defaultdict

import pytest

from audit.columns import CODES
from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.recovery import recover
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, call, pack, start, tell

KEYS = ("call", "target_kind", "target", "guest_target", "target2", "rule_id", "reason", "right")
APPEND, READ_RIGHT = 1 << 16, 1 << 35


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    root = tmp_path_factory.mktemp("log")
    writer = AuditWriter(root)
    tell(writer, start(), rounds=2)
    tell(writer, start(number=1, module_digest="sha256:" + "99" * 32))
    writer.close()
    recover(root, decode)
    writer = AuditWriter(root)
    tell(writer, start(number=2), is_ended=False)
    opens = [call("path_open", b"x", opener=IN, fd=3, flags=flags, errno=errno) for flags, errno in
             ((READ_RIGHT, 0), (READ_RIGHT | 1 << 34, 0), (READ_RIGHT, 44), (READ_RIGHT | APPEND, 0))]  # fmt: skip
    made, arena = pack(opens, first_seq=len(STORY))
    writer.append(start(number=2).exec_id, first_seq=len(STORY), records=made.tobytes(), arena=arena)
    writer.commit()
    with AuditReader(root, decode) as reader:
        yield reader
    writer.close()


@pytest.mark.parametrize("keep", [(), ("module_id",), ("module_id", "exec_id")])
@pytest.mark.parametrize(
    "wanted", [RecordFilter(), RecordFilter(call="path_*"), RecordFilter(decision="deny")]
)
def test_groups_are_a_plain_count(log, keep, wanted):
    expected: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in log.stream(wanted):
        kept = 0x800F | APPEND | READ_RIGHT | 1 << 40 if str(row["call"]).endswith("path_open") else 0
        key = (
            *(row[name] for name in (*keep, *KEYS)),
            CODES[str(row["decision"])],
            int(row["flags"] or 0) & kept,
        )
        expected[key][0] += 1
        expected[key][1] += row["errno"] == 0
        expected[key][2] += int(row["bytes_out"] or 0)
    found = log.facts(wanted, keep=keep).to_pylist()
    names = (*keep, *KEYS, "decision", "flags")
    assert {
        tuple(row[name] for name in names): [row["n"], row["n_done"], row["bytes_out"]] for row in found
    } == expected
    assert len(found) == len(expected)


def test_each_group_names_its_earliest_record_and_they_come_in_that_order(log):
    rows = {(row["exec_id"], row["seq"]): row for row in log.stream(RecordFilter())}
    order = []
    for group in log.facts(RecordFilter()).to_pylist():
        example = rows[group["example_exec_id"], group["example_seq"]]
        assert [example[name] for name in KEYS] == [group[name] for name in KEYS]
        alike = [row for row in rows.values() if all(row[name] == group[name] for name in KEYS)]
        assert example["t_ns"] <= max(row["t_ns"] for row in alike)
        order.append((example["t_ns"], example["exec_id"], example["seq"]))
    assert order == sorted(order)


def test_what_a_path_was_opened_for_keeps_groups_apart_and_other_flags_do_not(log):
    opened = [
        row for row in log.facts(RecordFilter(call="path_open")).to_pylist() if row["target"] == "/srv/in/x"
    ]
    assert [(row["flags"], row["n"], row["n_done"]) for row in opened] == [
        (READ_RIGHT, 3, 2),
        (READ_RIGHT | APPEND, 1, 1),
    ]
