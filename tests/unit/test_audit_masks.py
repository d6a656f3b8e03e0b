"""What a policy blots out is nowhere in the rows, and the rows say that something was."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.columns import OPENED, SCHEMA, Masked
from audit.json_mask import BLOT, blot_out
from audit.masks import NoKeys, candidate, hashed, mask, shortened
from audit.start import ExecutionStart
from audit.terms import AuditTerms, CallTerms, Level, Mask, Payload, Veil
from sandbox.monitor.decode import decode
from tests.records import IN, OUT, call, frame, start

BOB = r"\A/in/customers(?:/[^/]+)*\z"


class Keys:
    def key(self, tenant: str) -> bytes:
        return tenant.encode() * 4


def path(veil: Veil, **more: Any) -> Mask:
    return Mask(column="path", veil=veil, **more)


def masked(calls: list[Any], *masks: Mask, keys: Any = None, **columns: list[Any]) -> list[dict[str, Any]]:
    began = start(audit=AuditTerms(mask=masks))
    rows = decode(began, [frame(calls)], OPENED.empty_table())
    for name, values in columns.items():
        place = SCHEMA.get_field_index(name)
        rows = rows.set_column(place, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    made = mask(rows, began, keys or Keys())
    assert made.schema == SCHEMA
    found: list[dict[str, Any]] = made.to_pylist()
    return found


OPEN_BOB = call("path_open", b"customers/bob", opener=IN, fd=3, fd2=5)
OPEN_ANN = call("path_open", b"public/ann", opener=IN, fd=3, fd2=5)


def test_a_dropped_path_leaves_nothing_and_says_so():
    (row,) = masked([OPEN_BOB], path(Veil.DROP))
    assert (row["target"], row["guest_target"], row["masked"]) == (
        None,
        None,
        Masked.TARGET | Masked.GUEST_TARGET,
    )


def test_without_masks_rows_are_the_same():
    (row,) = masked([OPEN_BOB])
    assert (row["target"], row["masked"]) == ("/srv/in/customers/bob", 0)


def test_a_prefix_keeps_the_first_names():
    (row,) = masked([OPEN_BOB], path(Veil.PREFIX, names=2))
    assert (row["target"], row["guest_target"]) == ("/srv/in/…", "/in/customers/…")


def test_a_short_path_is_left_and_not_called_masked():
    (row,) = masked([OPEN_BOB], path(Veil.PREFIX, names=4))
    assert (row["target"], row["masked"]) == ("/srv/in/customers/bob", 0)


def test_a_hash_can_be_found_by_whoever_has_the_key():
    (row,) = masked([OPEN_BOB], path(Veil.HMAC))
    expected = hmac.new(b"default" * 4, b"/srv/in/customers/bob", hashlib.sha256).hexdigest()[:32]
    assert row["target"] == f"hmac:{expected}" == candidate(Keys(), "default", "/srv/in/customers/bob")
    assert row["target"] != candidate(Keys(), "acme", "/srv/in/customers/bob")


def test_without_a_key_nothing_is_stored_in_place_of_a_hash():
    (row,) = masked([OPEN_BOB], path(Veil.HMAC), keys=NoKeys())
    assert (row["target"], row["masked"] & Masked.TARGET) == (None, Masked.TARGET)


def test_a_mask_is_for_the_paths_of_its_glob_and_no_others():
    bob, ann = masked([OPEN_BOB, OPEN_ANN], path(Veil.DROP, pattern=BOB))
    assert (bob["target"], ann["target"]) == (None, "/srv/in/public/ann")
    assert (bob["guest_target"], ann["masked"]) == (None, 0)


def test_the_first_mask_that_fits_counts():
    masks = path(Veil.DROP, pattern=BOB), path(Veil.PREFIX, names=1)
    bob, ann = masked([OPEN_BOB, OPEN_ANN], *masks)
    assert (bob["target"], ann["target"]) == (None, "/srv/…")


@pytest.mark.parametrize(
    "raw",
    [b"public/../customers/bob", b"customers//bob", b"./customers/bob", b"/in/./customers/bob",
     b"/in/x/../customers//bob"],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_round_a_glob(raw):
    (row,) = masked([call("path_open", raw, opener=IN, fd=3, decision=1)], path(Veil.DROP, pattern=BOB))
    assert (row["target"], row["guest_target"]) == (None, None)


def test_a_new_name_below_the_glob_is_masked_whatever_the_old_one_was():
    moved = call("path_rename", b"public/a", b"customers/bob", opener=IN, aux=IN, fd=3, fd2=3)
    (row,) = masked([moved], path(Veil.DROP, pattern=BOB))
    assert (row["target"], row["guest_target"], row["target2"]) == (None, None, None)


def test_refusals_are_masked_too():
    refused = call("path_open", b"customers/bob", opener=IN, fd=3, decision=1, errno=76, reason=1)
    (row,) = masked([refused], path(Veil.DROP))
    assert (row["target"], row["reason"]) == (None, "rule")


def test_standard_streams_are_no_paths():
    (row,) = masked([call("fd_write", fd=1, aux=3)], path(Veil.DROP))
    assert (row["target"], row["masked"]) == ("stdout", 0)


def test_scratch_directories_are_named_by_the_guest():
    opened = call("path_open", b"a", opener=OUT, fd=4, fd2=6)
    (row,) = masked([opened], path(Veil.DROP, pattern=r"\A/out(?:/[^/]+)*\z"))
    assert row["target"] is None


def test_a_dropped_payload_leaves_no_digest_either():
    (row,) = masked(
        [call("fd_read", fd=0, aux=3)],
        Mask(column="payload", veil=Veil.DROP),
        payload=[b"abc"],
        payload_sha256=[b"\1" * 32],
    )
    assert (row["payload"], row["payload_sha256"], row["masked"]) == (None, None, Masked.PAYLOAD)


def test_a_payload_can_be_cut_down_to_its_digest():
    (row,) = masked(
        [call("fd_read", fd=0, aux=3)],
        Mask(column="payload", veil=Veil.DIGEST),
        payload=[b"abc"],
        payload_sha256=[b"\1" * 32],
    )
    assert (row["payload"], row["payload_sha256"], row["masked"]) == (None, b"\1" * 32, Masked.PAYLOAD)


DIGEST = b"\1" * 32


def json_row(raw: bytes | None, *pointers: str, moved: int | None = None, bits: int = 0) -> dict[str, Any]:
    return masked(
        [call("fd_write", fd=1, aux=len(raw or b"") if moved is None else moved)],
        *(Mask(column="payload", veil=Veil.JSON, pointer=each) for each in pointers or ("/email",)),
        payload=[raw],
        payload_sha256=[DIGEST],
        masked=[bits],
    )[0]


def test_a_blotted_value_takes_the_digest_with_it():
    row = json_row(b'{"email":"a@b.c","n":1}')
    assert json.loads(row["payload"]) == {"email": BLOT, "n": 1}
    assert (row["payload_sha256"], row["masked"]) == (None, Masked.PAYLOAD)


def test_white_space_around_a_document_is_no_second_one():
    row = json_row(b' {"email":"a@b.c","n":1}\r\n')
    assert json.loads(row["payload"]) == {"email": BLOT, "n": 1}


def test_of_several_pointers_one_that_is_there_says_which_kind_of_document_it_is():
    row = json_row(b'{"email":"a@b.c","n":1}', "/email", "/phone")
    assert json.loads(row["payload"]) == {"email": BLOT, "n": 1}


NESTED = b'{"person":{"email":"a@b.c","n":[1,"x"]},"email":"d@e.f"}'


@pytest.mark.parametrize("pointer", ["/person", "/person/email", "/person/n/1"])
def test_a_document_that_is_written_in_pieces_leaves_none_of_them(pointer):
    # every way to cut it in two: also pieces that are JSON by themselves are pieces
    secret = {"/person": b"a@b.c", "/person/email": b"a@b.c", "/person/n/1": b'"x"'}[pointer]
    for at in range(len(NESTED) + 1):
        for raw in (NESTED[:at], NESTED[at:]):
            row = json_row(raw, pointer)
            assert secret not in (row["payload"] or b"")
            if raw not in {NESTED, b""}:
                assert (row["payload"], row["payload_sha256"]) == (None, None)


def test_a_piece_that_is_a_whole_document_by_itself_is_not_kept():
    row = json_row(b'{"name":"Ann"}', "/person")
    assert (row["payload"], row["payload_sha256"], row["masked"]) == (None, None, Masked.PAYLOAD)


@pytest.mark.parametrize(
    "raw",
    [b'{"email":"a@', b"plain text", b'"a@b.c"', b"\xff\xfe", b'{"x":{"email":"a@b.c"},"x":1}', b"[" * 9000,
     b'{"email":"a@b.c","email":"b"}', b'{"n":1}\nemail=a@b.c', b'{"email":"\\ud800"',
     b'{"email":"a"}\n{"email":"b"}\n', b'{"email":"a"}{"email":"b"}', b'{"email":"a"} b', b'{"email":"a"}\0',
     b'{"p":{"email":"a"},"p\\u0061ss":1}', b'{"email":1,"em\\u0061il":"a@b.c"}', b'{"email":NaN}',
     b'{"email":1,"n":Infinity}', b'{"email":1,"n":1e999}', b'{"email":1,"n":' + b"9" * 5000 + b"}",
     b'\xef\xbb\xbf{"email":"a@b.c"}', '{"email":"a@b.c"}'.encode("utf-16"), '{"email":"a"}'.encode("utf-16-le"),
     '{"email":"a@b.c"}'.encode("utf-32-be"), b'{"email":1,"n":"\\ud800"}', b'{"email":1,}', b"{'email':1}",
     b'{"email":1,"n":"\xc0\x80"}', b'{"email":1,"n":"a\nb"}', b'{"email":1/**/}', b"123456", b" ",
     b'{"email":1,"n":' + b"[" * 9000 + b"]" * 9000 + b"}", b'{"n":1}', b"[]", b'{"Email":"a@b.c"}'],
)  # fmt: skip
def test_of_what_is_not_one_document_with_the_value_neither_text_nor_digest_is_kept(raw):
    row = json_row(raw)
    assert (row["payload"], row["payload_sha256"], row["masked"]) == (None, None, Masked.PAYLOAD)
    assert row["bytes_out"] == len(raw)


def test_a_name_that_is_spelt_with_escapes_is_that_name():
    row = json_row(b'{"em\\u0061il":"a@b.c","n":1}')
    assert json.loads(row["payload"]) == {"email": BLOT, "n": 1}


def test_a_head_that_is_a_document_by_chance_is_a_piece_all_the_same():
    row = json_row(b'{"email":"a"}', moved=400)
    assert (row["payload"], row["payload_sha256"], row["masked"]) == (None, None, Masked.PAYLOAD)


def test_a_digest_of_bytes_that_the_monitor_could_not_keep_goes_and_one_that_was_asked_for_stays():
    lost = json_row(None, moved=9, bits=Masked.PAYLOAD)
    asked = json_row(None, moved=9)
    assert (lost["payload_sha256"], asked["payload_sha256"]) == (None, DIGEST)


def test_a_pointer_to_the_whole_document_leaves_nothing():
    assert blot_out(b'{"a":1}', [""]) is None


@pytest.mark.parametrize(
    ("pointer", "raw"),
    [("/a/b", {"a": {"b": "SECRET"}}), ("/a/1", {"a": [0, "SECRET"]}), ("/a~1b", {"a/b": "SECRET"}),
     ("/m~0n", {"m~n": "SECRET"}), ("/", {"": "SECRET"}), ("/0", ["SECRET"]), ("/é", {"é": "SECRET"})],
)  # fmt: skip
def test_a_pointer_finds_its_value_however_it_is_spelt(pointer, raw):
    for text in (json.dumps(raw), json.dumps(raw, ensure_ascii=False), json.dumps(raw, indent=2)):
        found = blot_out(text.encode(), [pointer])
        assert found is not None
        assert b"SECRET" not in found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abé"), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from("abé"), VALUES, max_size=3), st.lists(st.sampled_from("ab01"), min_size=1)
)
def test_masked_json_differs_from_the_whole_in_nothing_but_the_value(value, steps):
    found = blot_out(json.dumps(value).encode(), ["/" + "/".join(steps)])
    at: Any = value
    for step in steps[:-1]:
        if isinstance(at, list):
            at = at[int(step)] if step.isdigit() and int(step) < len(at) else None
        else:
            at = at.get(step) if isinstance(at, dict) else None
    last = steps[-1]
    if isinstance(at, dict) and last in at:
        at[last] = BLOT
    elif isinstance(at, list) and last.isdigit() and int(last) < len(at):
        at[int(last)] = BLOT
    else:
        value = None  # nothing is kept
    assert (None if found is None else json.loads(found)) == value


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [("/a/b/c", 2, "/a/b/…"), ("/a/b", 2, "/a/b"), ("tmp://out/a/b", 2, "tmp://out/a/…"), ("/", 1, "/"),
     ("/in/../secret", 2, "/in/../…"), ("a/b/c", 1, "a/…")],
)  # fmt: skip
def test_a_path_is_shortened_at_its_names(text, names, expected):
    assert shortened(text, names) == expected


NAMES = st.text("ab/.…é", min_size=0, max_size=12)


@given(NAMES, st.integers(1, 4))
def test_no_more_than_the_first_names_are_kept(text, names):
    short = shortened("/" + text, names)
    assert short == "/" + text or short == "/" + "/".join(text.split("/")[:names]) + "/…"


def test_terms_come_back_from_json_as_they_were():
    terms = AuditTerms(
        level=Level.SUMMARY,
        payload=Payload.parse("head:256"),
        mask=(
            path(Veil.HMAC, glob="/in/**", pattern=BOB),
            Mask(column="payload", veil=Veil.JSON, pointer="/a"),
        ),
        rules=(CallTerms("wasi_snapshot_preview1.fd_read", Level.CALLS, Payload.parse("full")),),
    )
    began = start(audit=terms)
    assert ExecutionStart.from_json(began.to_json()) == began
    assert hashed(b"k", "a") != hashed(b"k", "b")


@pytest.mark.parametrize("veil", [Veil.DROP, Veil.DIGEST])
def test_bytes_of_a_descriptor_that_nobody_knows_are_masked_by_every_glob(veil):
    # what opened it may be in a part of the log that is gone: then no glob can say that it is not meant
    kept = Mask(column="payload", veil=veil, glob="/in/customers/**", pattern=BOB)
    reads = [
        call("fd_read", opener=7, fd=9, aux=3),  # no call of that number
        call("fd_read", opener=IN, fd=3, aux=3),  # known, and not meant
        call("fd_write", fd=1, aux=3),  # a stream
    ]
    digest = hashlib.sha256(b"bob").digest()
    rows = masked(reads, kept, payload=[b"bob"] * 3, payload_sha256=[digest] * 3)
    assert [row["payload"] for row in rows] == [None, b"bob", b"bob"]
    assert [row["payload_sha256"] is None for row in rows] == [veil is Veil.DROP, False, False]
    assert [bool(row["masked"] & Masked.PAYLOAD) for row in rows] == [True, False, False]


SECRET = r"\A/in/secret(?:/[^/]+)*\z"


def linked(*calls: Any, column: str = "path") -> list[dict[str, Any]]:
    wanted = Mask(column=column, veil=Veil.DROP, glob="/in/secret/**", pattern=SECRET)
    if column == "path":
        return masked(list(calls), wanted)
    digests = [hashlib.sha256(b"k").digest()] * len(calls)
    return masked(list(calls), wanted, payload=[b"k"] * len(calls), payload_sha256=digests)


OPEN_LINK = call("path_open", b"public/x", opener=IN, fd=3, fd2=5)
READ_LINK = call("fd_read", opener=1, fd=5, aux=1)


@pytest.mark.parametrize("content", [b"../secret/y", b"/in/secret/y", b"./../secret//y", b"../a/../secret"])
def test_what_a_link_points_to_is_masked_wherever_it_is_seen_from(content):
    made = call("path_symlink", b"public/x", content, opener=IN, fd=3)
    (row,) = linked(made)
    assert (row["target"], row["guest_target"], row["target2"]) == (None, None, None)
    (row,) = linked(call("path_symlink", b"public/x", b"../open/y", opener=IN, fd=3))
    assert (row["target"], row["target2"]) == ("/srv/in/public/x", "../open/y")


@pytest.mark.parametrize(
    "made",
    [
        call("path_symlink", b"public/x", b"../secret/y", opener=IN, fd=3),
        call("path_symlink", b"public", b"secret", opener=IN, fd=3),  # of a folder above it
        call("path_link", b"secret/y", b"public/x", opener=IN, aux=IN, fd=3, fd2=3),
        call("path_rename", b"secret/y", b"public/x", opener=IN, aux=IN, fd=3, fd2=3),
        call("path_rename", b"secret", b"public", opener=IN, aux=IN, fd=3, fd2=3),
    ],
)
def test_what_is_opened_by_another_name_of_it_is_masked_as_it(made):
    for column in ("path", "payload"):
        rows = linked(made, OPEN_LINK, READ_LINK, column=column)
        assert [row["target" if column == "path" else "payload"] for row in rows[1:]] == [None, None]
    other = call("path_open", b"publicly/x", opener=IN, fd=3, fd2=6)
    assert linked(made, other)[1]["target"] == "/srv/in/publicly/x"
    assert [row["payload"] for row in linked(OPEN_LINK, OPEN_LINK, READ_LINK, column="payload")] == [b"k"] * 3


def test_links_to_links_are_followed_however_many_there_are():
    chain = [call("path_symlink", b"0", b"secret/y", opener=IN, fd=3)]
    chain += [call("path_symlink", b"%d" % (n + 1), b"%d" % n, opener=IN, fd=3) for n in range(30)]
    rows = linked(*chain, call("path_open", b"30", opener=IN, fd=3, fd2=5), OPEN_LINK)
    assert [row["target"] for row in rows[:-1]] == [None] * 32
    assert rows[-1]["target"] == "/srv/in/public/x"


def test_a_link_from_where_a_mask_is_hides_nothing_that_it_points_to():
    rows = linked(
        call("path_symlink", b"secret/l", b"../public/x", opener=IN, fd=3),
        call("path_rename", b"public", b"secret/p", opener=IN, aux=IN, fd=3, fd2=3),
        OPEN_LINK,
    )
    assert [row["target"] for row in rows] == [None, None, "/srv/in/public/x"]
