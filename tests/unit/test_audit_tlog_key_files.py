"""Key files: made private, and refused where they are not."""

from __future__ import annotations

import os

import pytest

from audit.tlog.errors import KeyFileError, NoteError
from audit.tlog.key_files import KeyFolder
from tests.tlogs import ORIGIN, named_key, new_keys


def test_a_new_key_is_private_and_its_public_half_is_beside_it(tmp_path):
    keys = new_keys(tmp_path)
    assert keys.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keys.path.iterdir()} == {0o600}
    assert (keys.path / "signing.vkey").read_text() == f"{keys.load().verifier.text}\n"
    assert keys.load().name == ORIGIN


def test_a_second_first_key_is_refused_and_the_first_stays(tmp_path):
    keys = new_keys(tmp_path)
    before = keys.signing.read_bytes()
    with pytest.raises(KeyFileError, match="there is a key already"):
        keys.create(ORIGIN)
    assert keys.signing.read_bytes() == before


def test_a_name_that_no_note_can_hold_makes_no_key(tmp_path):
    with pytest.raises(NoteError):
        KeyFolder(tmp_path / "audit-keys").create("with space")
    assert not (tmp_path / "audit-keys").exists()


def test_a_key_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(KeyFileError, match="`wasmgate audit key new` makes one"):
        KeyFolder(tmp_path / "audit-keys").load()
    keys = new_keys(tmp_path)
    keys.signing.unlink()
    with pytest.raises(KeyFileError, match="`wasmgate audit key new` makes one"):
        keys.load()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_a_key_that_others_may_open_is_refused_and_not_repaired(tmp_path, mode):
    keys = new_keys(tmp_path)
    keys.signing.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:o}"):
        keys.load()
    assert keys.signing.stat().st_mode & 0o777 == mode
    keys.signing.chmod(0o400)
    assert keys.load().name == ORIGIN


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_may_open_is_refused(tmp_path, mode):
    keys = new_keys(tmp_path)
    keys.path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:o}"):
        keys.load()
    with pytest.raises(KeyFileError), keys.locked():
        pass


def test_a_link_in_place_of_a_key_is_not_followed(tmp_path):
    keys = new_keys(tmp_path)
    keys.signing.rename(tmp_path / "elsewhere")
    keys.signing.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        keys.load()


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path):
    keys = new_keys(tmp_path)
    keys.path.rename(tmp_path / "elsewhere")
    keys.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="is no folder"):
        keys.load()


def test_what_is_no_regular_file_is_refused_and_does_not_hold_us_up(tmp_path):
    keys = new_keys(tmp_path)
    keys.signing.unlink()
    os.mkfifo(keys.signing, 0o600)
    with pytest.raises(KeyFileError, match="no regular file"):
        keys.load()
    keys.signing.unlink()
    keys.signing.mkdir(0o700)
    with pytest.raises(KeyFileError):
        keys.load()


def test_a_key_of_somebody_else_is_refused(tmp_path, monkeypatch):
    keys = new_keys(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(KeyFileError, match="and we are 4242"):
        keys.load()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"x" * 5000, b"PRIVATE+KEY+a+00000000+AAAA\n", named_key().verifier.text.encode()],
)
def test_a_file_that_holds_no_key_is_refused_and_not_shown(tmp_path, content):
    keys = new_keys(tmp_path)
    secret = keys.signing.read_bytes()
    keys.signing.write_bytes(content)
    with pytest.raises(KeyFileError) as caught:
        keys.load()
    assert "PRIVATE" not in str(caught.value)
    keys.signing.write_bytes(secret)
    assert keys.load().name == ORIGIN
