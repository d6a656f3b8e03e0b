"""Receipts are signed as their leaves say, once, and for no execution without a leaf."""

from __future__ import annotations

import pytest

from audit import canonical
from audit.identity import ExecutionId
from audit.tlog.errors import KeyFileError, NoteError
from audit.tlog.note import Note
from audit.tlog.receipt_notes import open_receipt_note, receipt_text, sign_receipts
from tests.tlogs import named_key, new_keys, new_log

IDS = [ExecutionId(f"01a1ee56-5e00-7000-8000-{number:012x}") for number in range(5)]


def leaf(exec_id, sha256="ab" * 32):
    return canonical.dumps({"type": "receipt", "v": 1, "exec_id": exec_id, "sha256": sha256})


@pytest.fixture
def receipts(tmp_path):
    folder = tmp_path / "exec"
    folder.mkdir()
    for exec_id in IDS[:4]:
        (folder / f"{exec_id}.receipt.json").write_bytes(b"{}\n")
    return folder


def test_receipts_under_a_checkpoint_are_signed_and_later_ones_wait(tmp_path, receipts):
    log, keys = new_log(tmp_path, 3), new_keys(tmp_path)
    log.append([leaf(IDS[0]), canonical.dumps({"type": "segment"}), leaf(IDS[1], "cd" * 32), leaf(IDS[2])])
    assert sign_receipts(log, keys, size=6, receipts=receipts) == 2
    assert {path.name for path in receipts.glob("*.note")} == {f"{one}.receipt.note" for one in IDS[:2]}
    content = (receipts / f"{IDS[1]}.receipt.note").read_bytes()
    assert content.startswith(f"wasmgate.receipt/v1\n{IDS[1]}\n{'cd' * 32}\n\n— ".encode())
    assert open_receipt_note(content, [keys.load().verifier]) == (IDS[1], "cd" * 32)
    assert sign_receipts(log, keys, size=6, receipts=receipts) == 0
    assert sign_receipts(log, keys, size=7, receipts=receipts) == 1


def test_a_receipt_that_is_gone_is_passed_over(tmp_path, receipts):
    log, keys = new_log(tmp_path), new_keys(tmp_path)
    log.append([leaf(IDS[4]), leaf(IDS[0])])
    assert sign_receipts(log, keys, size=2, receipts=receipts) == 1
    assert not (receipts / f"{IDS[4]}.receipt.note").exists()


def test_a_leaf_of_another_type_with_the_words_of_a_receipt_is_not_signed(tmp_path, receipts):
    log, keys = new_log(tmp_path), new_keys(tmp_path)
    log.append(
        [
            canonical.dumps(
                {"type": "event", "x": {"type": "receipt"}, "exec_id": IDS[0], "sha256": "ab" * 32}
            ),
            leaf(IDS[1], "not a digest"),
        ]
    )
    assert sign_receipts(log, keys, size=2, receipts=receipts) == 0


def test_many_receipts_are_signed_in_one_go(tmp_path, receipts):
    log, keys = new_log(tmp_path, 1000), new_keys(tmp_path)
    log.append([leaf(IDS[0])])
    assert sign_receipts(log, keys, size=1001, receipts=receipts) == 1


def test_a_cursor_that_was_changed_is_refused(tmp_path, receipts):
    log, keys = new_log(tmp_path, 3), new_keys(tmp_path)
    sign_receipts(log, keys, size=3, receipts=receipts)
    (keys.path / "receipts.json").write_bytes(b"x")
    with pytest.raises(KeyFileError):
        sign_receipts(log, keys, size=3, receipts=receipts)


@pytest.mark.parametrize(
    "text",
    [
        "wasmgate.receipt/v2\n" + IDS[0] + "\n" + "ab" * 32 + "\n",
        receipt_text(IDS[0], "AB" * 32),
        receipt_text(ExecutionId("x"), "ab" * 32),
        receipt_text(IDS[0], "ab" * 32) + "more\n",
    ],
)
def test_a_signed_note_over_anything_else_is_no_receipt(text):
    key = named_key()
    good = receipt_text(IDS[0], "ab" * 32)
    assert open_receipt_note(Note(good, (key.sign(good),)).content, [key.verifier]) == (IDS[0], "ab" * 32)
    with pytest.raises(NoteError):
        open_receipt_note(Note(text, (key.sign(text),)).content, [key.verifier])
    with pytest.raises(NoteError):
        open_receipt_note(Note(good, (named_key(2).sign(good),)).content, [key.verifier])
