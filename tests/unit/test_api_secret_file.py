from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.secret_file import SECRET_BYTES, SecretFileError, secret_of


def test_it_is_made_once_private_and_stays(tmp_path):
    path = tmp_path / "cursor.key"
    first = secret_of(path)
    assert (len(first), secret_of(path)) == (SECRET_BYTES, first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["cursor.key"]


def test_all_who_make_it_at_the_same_time_get_the_same(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: secret_of(tmp_path / "k"), range(32)))) == 1


def test_a_file_that_others_can_read_a_link_and_another_length_are_refused(tmp_path):
    path = tmp_path / "k"
    secret_of(path)
    path.chmod(0o640)
    with pytest.raises(SecretFileError):
        secret_of(path)
    path.chmod(0o600)
    secret_of(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="link"):
        secret_of(tmp_path / "link")
    path.write_bytes(b"short")
    with pytest.raises(SecretFileError):
        secret_of(path)
