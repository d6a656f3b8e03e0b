"""A verifier who knows the first key only can walk to the one that signs now, and to no other."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from audit import canonical
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import DamageError, NoteError
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import verify_consistency
from audit.tlog.rotation import open_published, rotate, trusted_keys
from audit.tlog.signer import sign_head
from tests.tlogs import AT_NS, ORIGIN, named_key, new_keys, new_log


@pytest.fixture
def log(tmp_path):
    return new_log(tmp_path, 10)


@pytest.fixture
def keys(tmp_path):
    return new_keys(tmp_path)


def turn(log, keys, reason="yearly"):
    return rotate(log, keys, reason=reason, at_ns=AT_NS, seal_lock=log.directory / "seal.lock")


def now_published(log):
    found = open_published(log.directory)
    assert found is not None
    return found[0]


def test_a_new_key_signs_after_the_old_one_vouched_for_it(log, keys):
    first = keys.load().verifier
    old_secret = keys.signing.read_bytes()
    sign_head(log, keys)
    second = turn(log, keys)
    assert keys.load().verifier == second
    assert keys.old() == (first,)
    kept = open_checkpoint((log.directory / "keys/0.checkpoint").read_bytes(), ORIGIN, [first])
    leaf = canonical.loads("leaf", next(log.entries(kept.checkpoint.size - 1, 1)))
    assert dict(leaf.fields) == {
        "type": "key", "v": 1, "at": "2026-11-18T11:06:40.000000000Z", "old": first.text, "new": second.text, "reason": "yearly",
    }  # fmt: skip
    now = open_checkpoint((log.directory / "checkpoint").read_bytes(), ORIGIN, [second])
    assert now.signers == (second,)
    verify_consistency(
        kept.checkpoint.size, now.checkpoint.size, first_root=kept.checkpoint.root, second_root=now.checkpoint.root,
        path=log.consistency(kept.checkpoint.size, now.checkpoint.size),
    )  # fmt: skip
    assert old_secret not in [path.read_bytes() for path in keys.path.rglob("*") if path.is_file()]


def test_the_walk_goes_from_any_known_key_to_the_current_one(log, keys):
    known = [keys.load().verifier]
    for number in range(3):
        log.append([b"x"] * (number * 200 + 1))
        known.append(turn(log, keys, f"number {number}"))
    for at, key in enumerate(known):
        assert trusted_keys(log.directory, key) == tuple(known[at:])
    assert now_published(log).signers == (known[-1],)


def test_a_log_that_was_never_signed_has_nothing_published(log):
    assert open_published(log.directory) is None


def test_a_key_that_never_signed_is_no_beginning(log, keys):
    turn(log, keys)
    with pytest.raises(NoteError, match="a key that has signed this log"):
        trusted_keys(log.directory, named_key(7).verifier)


def test_a_checkpoint_by_another_key_does_not_vouch(tmp_path, log, keys):
    first = keys.load().verifier
    turn(log, keys)
    other_log, other_keys = new_log(tmp_path / "other", 10), new_keys(tmp_path / "other")
    turn(other_log, other_keys)
    shutil.copy(other_log.directory / "keys/0.checkpoint", log.directory / "keys/0.checkpoint")
    with pytest.raises(NoteError):
        trusted_keys(log.directory, first)


def test_an_older_checkpoint_by_the_right_key_does_not_vouch(log, keys):
    first = keys.load().verifier
    sign_head(log, keys)
    older = (log.directory / "checkpoint").read_bytes()
    turn(log, keys)
    kept = log.directory / "keys/0.checkpoint"
    good = kept.read_bytes()
    kept.write_bytes(older)
    with pytest.raises(DamageError):
        trusted_keys(log.directory, first)
    kept.write_bytes(good)
    assert len(trusted_keys(log.directory, first)) == 2


def test_a_log_that_was_replaced_under_the_kept_checkpoint_is_noticed(log, keys):
    first = keys.load().verifier
    turn(log, keys)
    kept, vkey = ((log.directory / "keys" / name).read_bytes() for name in ("0.checkpoint", "0.vkey"))
    shutil.rmtree(log.directory)
    forged = TransparencyLog(log.directory)
    leaf = {
        "type": "key",
        "v": 1,
        "at": "",
        "old": first.text,
        "new": named_key(7).verifier.text,
        "reason": "",
    }
    forged.append([*[b"x"] * 10, canonical.dumps(leaf)])
    (log.directory / "keys").mkdir()
    (log.directory / "keys/0.checkpoint").write_bytes(kept)
    (log.directory / "keys/0.vkey").write_bytes(vkey)
    with pytest.raises(DamageError, match="does not begin with the tree"):
        trusted_keys(log.directory, first)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("stop", range(18))
def test_killed_between_any_two_steps_the_next_rotation_finishes_and_the_walk_holds(
    log, keys, monkeypatch, stop
):
    first = keys.load().verifier
    sign_head(log, keys)
    left = [stop]

    def rename(path, target, real=Path.rename):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", rename)
        with contextlib.suppress(Killed):
            turn(log, keys)
    current = keys.load().verifier
    assert current in trusted_keys(log.directory, first)
    # the signer goes on meanwhile, with whichever key is in force
    log.append([b"meanwhile"])
    sign_head(log, keys)
    assert now_published(log).checkpoint.size == log.size
    last = turn(log, keys)
    assert keys.load().verifier == last
    assert trusted_keys(log.directory, first)[-1] == last
    assert now_published(log).signers == (last,)
    assert not keys.following.exists()
