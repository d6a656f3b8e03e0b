"""Keys of masks: made once, private, and never a file that somebody else may know."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from audit.mask_keys import FileMaskKeys, MaskKeyError, file_name
from audit.tlog.key_files import KeyFolder


def test_a_key_is_made_once_and_kept(tmp_path):
    first = FileMaskKeys(tmp_path / "mask").key("acme")
    assert len(first) == 32
    assert FileMaskKeys(tmp_path / "mask").key("acme") == first
    assert FileMaskKeys(tmp_path / "mask").key("globex") != first


def test_a_key_is_for_its_owner_alone(tmp_path):
    FileMaskKeys(tmp_path / "mask").key("acme")
    assert stat.S_IMODE((tmp_path / "mask" / "acme.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "mask").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "mask").iterdir()] == ["acme.key"]


def test_a_key_that_is_made_before_there_is_any_other_makes_a_folder_for_its_owner_alone(tmp_path):
    keys = tmp_path / "home/audit-keys"
    before = os.umask(0)
    try:
        FileMaskKeys(keys / "mask").key("acme")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (keys, keys / "mask", keys.parent)] == [0o700] * 3
    KeyFolder(keys).create("log.example")  # which takes no folder that others may open


def test_two_who_make_a_key_at_once_get_the_same_one(tmp_path):
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(FileMaskKeys(tmp_path).key("acme"))) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(found)) == 1


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "known").write_text("00" * 32)
    (tmp_path / "known").chmod(0o600)
    (tmp_path / "acme.key").symlink_to(tmp_path / "known")
    with pytest.raises(MaskKeyError):
        FileMaskKeys(tmp_path).key("acme")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    FileMaskKeys(tmp_path).key("acme")
    (tmp_path / "acme.key").chmod(mode)
    with pytest.raises(MaskKeyError, match="mode 0600"):
        FileMaskKeys(tmp_path).key("acme")


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "\xe9"])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path, text):
    (tmp_path / "acme.key").write_text(text)
    (tmp_path / "acme.key").chmod(0o600)
    with pytest.raises(MaskKeyError):
        FileMaskKeys(tmp_path).key("acme")
    assert (tmp_path / "acme.key").read_text() == text


@pytest.mark.parametrize(
    ("tenant", "name"),
    [
        ("acme", "acme"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        ("é", "%C3%A9"),
        ("A-b_9", "A-b_9"),
        ("a~b", "a%7Eb"),
    ],
)
def test_a_tenant_is_one_name_of_a_file(tenant, name):
    assert file_name(tenant) == name


def test_long_tenants_stay_apart():
    one, other = file_name("a" * 200), file_name("a" * 201)
    assert one != other
    assert len(one) == 117
