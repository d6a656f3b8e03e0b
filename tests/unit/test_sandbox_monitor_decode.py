"""The ring's bytes become rows, whatever they are."""

from __future__ import annotations

import posixpath

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.columns import OPENED, SCHEMA
from audit.openers import opened
from audit.wal import RecordFrame
from policy.calls import CALL_CODES, CALLS
from sandbox.monitor.decode import decode
from sandbox.monitor.layout import ARENA_BYTES, FIRST_MOUNT, RECORD, Decision, Reason
from tests.records import IN, OUT, ROOT, RULES, STORY, Call, call, frame, pack, start

OF = start()
NOTHING = OPENED.empty_table()


def rows(*calls, **kw):
    return decode(OF, [frame(calls, **kw)], NOTHING).to_pylist()


def row(name, path=b"", path2=b"", **fields):
    return rows(call(name, path, path2, **fields))[0]


def test_no_frames_are_no_rows():
    table = decode(OF, [], NOTHING)
    assert (table.num_rows, table.schema) == (0, SCHEMA)


def test_the_story_is_the_one_that_people_accepted(golden):
    names = (
        "seq",
        "call",
        "stage",
        "decision",
        "disposition",
        "errno",
        "reason",
        "right",
        "rule_id",
        "class_uid",
        "activity_id",
        "target_kind",
        "target",
        "guest_target",
        "target2",
        "bytes_in",
        "bytes_out",
        "dur_ns",
        "opener_seq",
    )
    text = "\n".join(" ".join(f"{name}={one[name]}" for name in names) for one in rows(*STORY))
    golden("decoded_story.txt", text + "\n")


def test_every_row_names_its_execution():
    one = row("sched_yield")
    assert (one["exec_id"], one["tenant_id"], one["module_id"], one["policy_id"], one["n"]) == (
        OF.exec_id,
        "default",
        OF.module_digest,
        OF.policy_digest,
        1,
    )


@pytest.mark.parametrize("name", [one.name for one in CALLS])
def test_every_call_has_its_full_name(name):
    assert row(name)["call"] == f"wasi_snapshot_preview1.{name}"


@pytest.mark.parametrize(
    ("decision", "stored"),
    [
        (Decision.ALLOW, (1, 1)),
        (Decision.DENY, (2, 2)),
        (Decision.WOULD_DENY, (3, 17)),
        (Decision.LIMIT, (5, 2)),
    ],
)
def test_decisions(decision, stored):
    one = row("fd_read", decision=decision)
    assert (one["decision"], one["disposition"]) == stored


def test_reasons_rights_and_rules():
    one = row("path_open", b"x", decision=1, reason=Reason.SYMLINK, right=1, rule=1)
    assert (one["reason"], one["right"], one["rule_id"]) == ("symlink", "read", "builtin")
    none = row("path_open", b"x", reason=0, right=0, rule=len(RULES))
    assert (none["reason"], none["right"], none["rule_id"]) == (None, None, None)


def test_the_default_deny_allows_nothing():
    assert row("path_open", b"x", decision=1, rule=0)["rule_id"] == "default"
    assert row("sched_yield", rule=0)["rule_id"] is None


@pytest.mark.parametrize(
    ("name", "fields", "stage", "dur"),
    [
        ("fd_read", {}, 1, 50),
        ("fd_read", {"dur_ns": -2}, 1, None),
        ("fd_read", {"dur_ns": -1, "errno": -1}, 2, -1),
        ("proc_exit", {"dur_ns": -1, "errno": -1}, 1, -1),
    ],
)
def test_a_call_that_never_returned_is_told_from_one_that_did(name, fields, stage, dur):
    one = row(name, **fields)
    assert (one["stage"], one["dur_ns"]) == (stage, dur)


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("fd_read", (9, 0)),
        ("fd_pread", (9, 0)),
        ("fd_readdir", (9, 0)),
        ("random_get", (9, 0)),
        ("sock_recv", (9, 0)),
        ("fd_write", (0, 9)),
        ("fd_pwrite", (0, 9)),
        ("sock_send", (0, 9)),
        ("path_rename", (0, 0)),
        ("fd_seek", (0, 0)),
    ],
)
def test_bytes_go_in_or_out(name, moved):
    one, failed, lied = row(name, aux=9), row(name, aux=9, errno=8), row(name, aux=-9)
    assert (one["bytes_in"], one["bytes_out"]) == moved
    assert (failed["bytes_in"], failed["bytes_out"]) == (lied["bytes_in"], lied["bytes_out"]) == (0, 0)


@pytest.mark.parametrize(
    ("opener", "path", "target", "guest"),
    [
        (IN, b"a.csv", "/srv/in/a.csv", "/in/a.csv"),
        (IN, b"./a//b/../c", "/srv/in/a/c", "/in/./a//b/../c"),
        (IN, b".", "/srv/in", "/in/."),
        (IN, b"", "/srv/in", "/in/"),
        (IN, b"a/", "/srv/in/a", "/in/a/"),
        (IN, b"..", "/srv", "/in/.."),
        (IN, b"../../../../etc/passwd", "/etc/passwd", "/in/../../../../etc/passwd"),
        (IN, b"/etc/passwd", None, "/etc/passwd"),
        (IN, b"...", "/srv/in/...", "/in/..."),
        (IN, b"\xff\\", "/srv/in/\\xff\\\\", "/in/\\xff\\\\"),
        (OUT, b"x", "tmp://out/x", "/out/x"),
        (OUT, b"a/../../x", "tmp://out/../x", "/out/a/../../x"),
        (ROOT, b"x", "/srv/root/x", "/x"),
        (FIRST_MOUNT - 3, b"x", None, None),
        (-1, b"x", None, None),
        (17, b"x", None, None),
    ],
)
def test_where_a_path_leads(opener, path, target, guest):
    one = row("path_open", path, opener=opener)
    assert (one["target"], one["guest_target"], one["target_kind"]) == (target, guest, 1)


def test_descriptors_have_the_path_of_the_call_that_opened_them():
    found = rows(
        call("path_open", b"d", opener=IN, fd2=5),
        call("path_open", b"e/../f", opener=0, fd=5, fd2=6),
        call("fd_read", opener=1, fd=6),
        call("fd_readdir", opener=0, fd=5),
        call("fd_prestat_get", opener=IN, fd=3),
        call("fd_read", opener=4, fd=6),
    )
    assert [one["target"] for one in found] == [
        "/srv/in/d",
        "/srv/in/d/f",
        "/srv/in/d/f",
        "/srv/in/d",
        "/srv/in",
        None,
    ]
    assert [one["guest_target"] for one in found[:5]] == [
        "/in/d",
        "/in/d/e/../f",
        "/in/d/e/../f",
        "/in/d",
        "/in",
    ]
    assert [one["target_kind"] for one in found] == [1, 1, 1, 1, 1, 0]


def test_they_have_it_across_frames_and_across_calls_of_the_decoder():
    first = frame([call("path_open", b"d", opener=IN, fd2=5)])
    second = frame([call("path_open", b"f", opener=0, fd2=6)], first_seq=1)
    third = frame(
        [call("fd_read", opener=1, fd=6), call("path_rename", b"x", b"y", opener=IN, aux=0)], first_seq=2
    )
    together = decode(OF, [first, second, third], NOTHING)
    known, apart = NOTHING, []
    for one in (first, second, third):
        table = decode(OF, [one], known)
        known = pa.concat_tables([known, opened(table)])
        apart += table.to_pylist()
    assert apart == together.to_pylist()
    assert apart[2]["target"] == "/srv/in/d/f"
    assert apart[3]["target2"] == "/srv/in/d/y"


def test_second_paths():
    rename = row("path_rename", b"a", b"../b", opener=IN, aux=OUT)
    assert (rename["target"], rename["target2"]) == ("/srv/in/a", "tmp://out/../b")
    link = row("path_link", b"a", b"b", opener=IN, aux=IN)
    assert (link["target"], link["target2"]) == ("/srv/in/a", "/srv/in/b")
    symlink = row("path_symlink", b"name", b"../what it says", opener=IN)
    assert (symlink["target"], symlink["target2"]) == ("/srv/in/name", "../what it says")


def test_standard_streams_and_things_without_a_path():
    assert [
        (one["target"], one["target_kind"]) for one in rows(*(call("fd_write", fd=fd) for fd in (0, 1, 2, 3)))
    ] == [("stdin", 6), ("stdout", 6), ("stderr", 6), (None, 0)]
    assert row("path_open", b"x", fd=1)["target"] is None
    assert [
        row(name)["target_kind"]
        for name in ("args_get", "environ_get", "clock_time_get", "random_get", "sched_yield")
    ] == [4, 4, 5, 5, 0]


def test_opening_with_create_is_creating():
    assert row("path_open", b"x", flags=1)["activity_id"] == 1
    assert row("path_open", b"x", flags=2)["activity_id"] == 14
    assert row("sock_accept", decision=1)["activity_id"] == 5


@given(st.integers(0, ARENA_BYTES - 1), st.lists(st.binary(max_size=9), min_size=1, max_size=9))
def test_strings_are_found_wherever_the_ring_put_them(arena_start, paths):
    calls = [call("path_open", path.replace(b"/", b""), opener=IN) for path in paths]
    near_the_end = (ARENA_BYTES - 10 + arena_start % 10) % ARENA_BYTES
    for at in (arena_start, near_the_end):
        assert [one["guest_target"] for one in rows(*calls, arena_start=at)] == [
            one["guest_target"] for one in rows(*calls)
        ]


NAMES = st.sampled_from([b"a", b"b", b"..", b".", b"", b"long-name"])
PATHS = st.lists(NAMES, max_size=5).map(b"/".join).filter(lambda path: not path.startswith(b"/"))


@given(st.lists(st.tuples(PATHS, st.integers(0, 8)), min_size=1, max_size=12))
def test_targets_agree_with_the_library_on_any_tree_of_directories(opens):
    calls: list[Call] = []
    places: dict[int, tuple[str, str]] = {}
    for seq, (path, back) in enumerate(opens):
        opener = seq - back if 0 < back <= seq else IN
        base, guest = places.get(opener, ("/srv/in", "/in"))
        places[seq] = (
            posixpath.normpath(f"{base.rstrip('/')}/{path.decode()}"),
            f"{guest.rstrip('/')}/{path.decode()}",
        )
        calls.append(call("path_open", path, opener=opener))
    assert [(one["target"], one["guest_target"]) for one in rows(*calls)] == list(places.values())


GIVEN = (b"a", b"b/c", b"..", b"../x", b"/abs", b"", b"a//b", b"d/./e", b"\xc3\xa9", b"\xff", b"a\\b", b"x\n")
FROM = st.sampled_from((IN, ROOT, ROOT - 1, *range(12)))  # also mounts and calls that are not there
ASKED = st.tuples(
    st.sampled_from(("path_open", "path_rename", "path_symlink", "fd_read")),
    st.sampled_from(GIVEN),
    st.sampled_from(GIVEN),
    FROM,
    FROM,
)


def naive_below(base, raw):
    text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    target, guest = base
    if text.startswith("/"):
        return None, text
    joined = None if target is None else posixpath.normpath(f"{target}/{text}")
    return joined, None if guest is None else f"{guest.rstrip('/')}/{text}"


def naive_targets(asked):
    """Go through the calls one by one; a call that comes later is known to none before it."""
    known: dict[int, tuple[str | None, str | None]] = {IN: ("/srv/in", "/in"), ROOT: ("/srv/root", "/")}
    for seq, (name, path, path2, opener, opener2) in enumerate(asked):
        if name == "fd_read":
            yield *known.get(opener, (None, None)), None
            continue
        place = naive_below(known.get(opener, (None, None)), path)
        second = path2.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
        if name == "path_rename":
            target, guest = naive_below(known.get(opener2, (None, None)), path2)
            second = guest if target is None else target
        yield *place, second if name != "path_open" else None
        known[seq] = place


@given(st.lists(ASKED, max_size=14), st.integers(0, 14))
def test_targets_agree_with_going_through_the_calls_one_by_one(asked, cut):
    # what refers to itself or to a later call is a matter of its own
    asked = [
        (name, path, path2, *(number if number < seq else IN for number in openers))
        for seq, (name, path, path2, *openers) in enumerate(asked)
    ]
    calls = [
        call(
            name, path, b"" if name in {"path_open", "fd_read"} else path2, opener=opener, aux=opener2, fd2=4
        )
        if name != "fd_read"
        else call(name, opener=opener)
        for name, path, path2, opener, opener2 in asked
    ]
    early = decode(OF, [frame(calls[:cut])], NOTHING)
    late = decode(OF, [frame(calls[cut:], first_seq=min(cut, len(calls)))], opened(early))
    found = [
        (one["target"], one["guest_target"], one["target2"])
        for table in (early, late)
        for one in table.to_pylist()
    ]
    assert found == list(naive_targets(asked))


@given(st.binary(min_size=64, max_size=64 * 40), st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_any_bytes_decode_to_one_row_a_record(content, arena, arena_start):
    count = len(content) // 64
    table = decode(OF, [RecordFrame(5, count, content[: count * 64], arena, arena_start)], NOTHING)
    assert (table.num_rows, table.schema) == (count, SCHEMA)
    table.validate(full=True)


@given(st.data())
def test_plausible_lies_decode_too(data):
    made, arena = pack(STORY)
    for _ in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from(RECORD.names or ()))
        limits = np.iinfo(np.dtype(RECORD[name].str))
        value = data.draw(st.integers(-5, 40) | st.integers(int(limits.min), int(limits.max)))
        made[name][data.draw(st.integers(0, len(made) - 1))] = np.clip(value, limits.min, limits.max)
    table = decode(OF, [RecordFrame(0, len(made), made.tobytes(), arena, 0)], NOTHING)
    assert table.num_rows == len(STORY)
    table.validate(full=True)


def test_a_few_bytes_cannot_be_made_into_many():
    made, arena = pack([call("path_open", b"x" * 60_000, opener=IN) for _ in range(5)])
    many = np.repeat(made[:1], 50_000)
    table = decode(OF, [RecordFrame(0, len(many), many.tobytes(), arena, 0)], NOTHING)
    assert (
        sum(
            text is not None and len(text) > 100
            for text in table.column("guest_target").combine_chunks().dictionary.to_pylist()
        )
        == 1
    )


def test_a_long_chain_of_directories_does_not_grow_without_end():
    calls = [
        call("path_open", b"name", opener=IN),
        *(call("path_open", b"name", opener=seq) for seq in range(3000)),
    ]
    found = rows(*calls)
    assert max(len(one["target"]) for one in found) < 4200
    assert found[3000]["target"].startswith("/srv/in/name/name/")
    assert found[3000]["target"].endswith("…/name")
    assert len(found[700]["target"]) == len("/srv/in") + 701 * len("/name")


def test_a_record_that_refers_to_itself_or_to_a_later_one_has_no_path():
    found = rows(
        call("path_open", b"a", opener=0),
        call("path_open", b"b", opener=2),
        call("path_open", b"c", opener=IN),
    )
    assert [one["target"] for one in found] == [None, None, "/srv/in/c"]


def test_codes_match_the_table_of_calls():
    assert CALL_CODES["fd_read"] == [one.name for one in CALLS].index("fd_read")
