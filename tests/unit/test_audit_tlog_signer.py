"""The signer signs what extends what it signed, and nothing else, whatever is put back or killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import DamageError, ForkError, KeyFileError
from audit.tlog.log import TransparencyLog
from audit.tlog.note import parse_note
from audit.tlog.signer import sign_head, signed_head
from tests.tlogs import ORIGIN, entries_of, named_key, new_keys, new_log, oracle_root, signed


@pytest.fixture
def log(tmp_path):
    return new_log(tmp_path, 10)


@pytest.fixture
def keys(tmp_path):
    return new_keys(tmp_path)


def published(log):
    return (log.directory / "checkpoint").read_bytes()


def test_a_head_is_signed_and_published_once(log, keys):
    made = signed(log, keys)
    assert (made.origin, made.size, made.root) == (ORIGIN, 10, oracle_root(entries_of(10)))
    found = open_checkpoint(published(log), ORIGIN, [keys.load().verifier])
    assert found.checkpoint == made
    assert (log.directory / "keys/0.vkey").read_text() == f"{keys.load().verifier.text}\n"
    assert sign_head(log, keys) is None
    assert signed_head(log, keys) == made


def test_a_log_that_grew_is_signed_again(log, keys):
    sign_head(log, keys)
    for size in (11, 255, 256, 600):
        log.append(entries_of(size - log.size, first=log.size))
        assert signed(log, keys).size == size
        assert open_checkpoint(published(log), ORIGIN, [keys.load().verifier]).checkpoint.size == size


def test_a_log_without_leaves_is_not_signed(tmp_path, keys):
    empty = TransparencyLog(tmp_path / "empty")
    assert sign_head(empty, keys) is None
    assert signed_head(empty, keys) is None


def replaced_by(log, entries):
    shutil.rmtree(log.directory)
    TransparencyLog(log.directory).append(entries)
    return TransparencyLog(log.directory)


def test_a_rollback_is_refused_again_and_again_and_nothing_is_published(log, keys):
    sign_head(log, keys)
    shorter = replaced_by(log, entries_of(9))
    for _ in range(3):
        with pytest.raises(
            ForkError, match="refused to sign a head of 9 leaves: a tree of 10 leaves is signed"
        ):
            sign_head(shorter, keys)
    assert not (log.directory / "checkpoint").exists()
    # as soon as the true log is back, it is signed again
    assert signed(replaced_by(log, entries_of(11)), keys).size == 11


@pytest.mark.parametrize("count", [10, 11, 300])
def test_a_fork_is_refused(log, keys, count):
    sign_head(log, keys)
    other = [b"another", *entries_of(count - 1)]
    with pytest.raises(ForkError, match="does not begin with it"):
        sign_head(replaced_by(log, other), keys)
    assert signed(replaced_by(log, entries_of(count)), keys).size == count


def test_tiles_with_another_history_under_the_right_head_are_refused(log, keys):
    log.append(entries_of(590, first=10))
    sign_head(log, keys)
    log.append(entries_of(100, first=600))
    tile = log.directory / "tile/0/000"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    # the changed hash is below a full tile, so the proof does not show it: verifiers find it, see verify
    assert signed(log, keys).size == 700
    above = log.directory / "tile/1/000.p/2"
    above.write_bytes(bytes(64))
    with pytest.raises(DamageError):
        sign_head(TransparencyLog(log.directory), keys)


def test_a_lost_memory_falls_back_to_the_published_checkpoint(log, keys):
    sign_head(log, keys)
    keys.remembered.unlink()
    note = published(log)
    other = replaced_by(log, [b"another", *entries_of(10)])
    (log.directory / "checkpoint").write_bytes(note)
    with pytest.raises(ForkError):
        sign_head(other, keys)


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 2_000_000])
def test_a_memory_that_was_changed_is_refused(log, keys, content):
    sign_head(log, keys)
    keys.remembered.write_bytes(content)
    with pytest.raises(KeyFileError):
        sign_head(log, keys)


def test_a_checkpoint_by_another_key_is_not_overwritten(tmp_path, log, keys):
    sign_head(log, keys)
    before = published(log)
    with pytest.raises(DamageError, match="not signed by the key of this service"):
        sign_head(log, new_keys(tmp_path / "new"))
    assert published(log) == before


@pytest.mark.parametrize(
    "change", [lambda p: p.unlink(), lambda p: p.write_bytes(b"garbage"), lambda p: p.write_bytes(b"")]
)
def test_a_published_checkpoint_that_is_gone_or_changed_is_published_again(log, keys, change):
    sign_head(log, keys)
    before = published(log)
    change(log.directory / "checkpoint")
    assert signed(log, keys).size == 10
    assert published(log) == before


def test_an_older_checkpoint_in_its_place_is_replaced_by_the_newest(log, keys):
    sign_head(log, keys)
    older = published(log)
    log.append([b"x"])
    sign_head(log, keys)
    newest = published(log)
    (log.directory / "checkpoint").write_bytes(older)
    assert signed(log, keys).size == 11
    assert published(log) == newest


def test_a_cosignature_that_a_witness_added_stays(log, keys):
    sign_head(log, keys)
    note = parse_note(published(log))
    both = note.with_signatures(named_key(3, "witness.example.com/w1").cosign(note.text, 1_795_000_000))
    (log.directory / "checkpoint").write_bytes(both.content)
    assert sign_head(log, keys) is None
    assert published(log) == both.content


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("stop", range(8))
def test_killed_between_any_two_steps_it_goes_on_and_contradicts_nothing(log, keys, monkeypatch, stop):
    sign_head(log, keys)
    log.append(entries_of(5, first=10))
    left = [stop]

    def rename(path, target, real=Path.rename):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", rename)
        try:
            sign_head(log, keys)
        except Killed:
            pass
        else:
            assert stop > 1
    known = [keys.load().verifier]
    assert open_checkpoint(published(log), ORIGIN, known).checkpoint.size in (10, 15)
    # the log is put back to before the kill: whatever was remembered still holds
    remembered = signed_head(log, keys)
    assert remembered is not None
    if remembered.size == 15:
        copy = replaced_by(log, [*entries_of(10), *entries_of(6, first=100)])
        with pytest.raises(ForkError):
            sign_head(copy, keys)
    else:
        assert signed(log, keys).size == 15
