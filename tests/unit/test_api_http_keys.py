from __future__ import annotations

import base64
import stat

import pytest

from api.http.keys import PREFIX, KeyFile, KeyFileError, Presented


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "key.json")


def test_a_key_holds_32_random_bytes_behind_a_prefix_that_scanners_can_know(file):
    first, second = file.make(), file.make()
    assert first != second
    assert first.startswith(PREFIX)
    assert len(base64.urlsafe_b64decode(first.removeprefix(PREFIX) + "=")) == 32


def test_the_file_is_private_and_holds_no_key(file):
    key = file.make()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert key.encode() not in file.path.read_bytes()
    assert key.removeprefix(PREFIX).encode() not in file.path.read_bytes()


def test_the_key_is_good_and_one_with_a_slip_is_not(file):
    key = file.make()
    check = file.check()
    assert check.judge(key) is Presented.GOOD
    other = "A" if key[-1] != "A" else "B"
    for wrong in (key[:-1] + other, key[:-1], key + "A", key.upper(), key + "\n", " " + key, "wg_", "\ud800"):
        assert check.judge(wrong) is Presented.WRONG
    for missing in (None, ""):
        assert check.judge(missing) is Presented.MISSING


def test_a_new_key_replaces_the_old_one(file):
    old = file.make()
    new = file.make()
    assert file.check().judge(new) is Presented.GOOD
    assert file.check().judge(old) is Presented.WRONG


def test_a_verdict_is_never_taken_for_yes_or_no(file):
    file.make()
    with pytest.raises(TypeError):
        bool(file.check().judge("wg_x"))


def test_a_file_that_others_may_read_opens_nothing_and_a_private_one_does(file):
    key = file.make()
    file.path.chmod(0o640)
    with pytest.raises(KeyFileError, match="0600"):
        file.check()
    file.path.chmod(0o600)
    assert file.check().judge(key) is Presented.GOOD


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"version": 1}', b"[" * 100_000]
    + [
        b'{"version": 1, "algorithm": "sha256", "hash": "%s"}' % each
        for each in (b"", b"0" * 63, b"G" * 64, b"0" * 65)
    ]
    + [b'{"version": 2, "algorithm": "sha256", "hash": "%s"}' % (b"0" * 64)]
    + [b'{"version": 1, "algorithm": "none", "hash": "%s"}' % (b"0" * 64)],
)
def test_what_is_no_hash_of_a_key_opens_nothing(file, content):
    file.make()
    file.path.write_bytes(content)
    with pytest.raises(KeyFileError):
        file.check()


def test_a_missing_file_and_a_link_open_nothing(file, tmp_path):
    assert not file.is_there()
    with pytest.raises(KeyFileError):
        file.check()
    other = KeyFile(tmp_path / "other.json")
    other.make()
    file.path.symlink_to(other.path)
    assert file.is_there()  # so that none is made in its place unasked
    with pytest.raises(KeyFileError):
        file.check()
