from __future__ import annotations

import base64
import json
import stat

import pytest

from api.http.keys import PREFIX, Key, KeyFile, KeyFileError, KeyNameError, LiveKeys, Presented


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "key.json")


def is_good(check, key):
    return isinstance(check.judge(key), Key)


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
    assert is_good(check, key)
    other = "A" if key[-1] != "A" else "B"
    for wrong in (key[:-1] + other, key[:-1], key + "A", key.upper(), key + "\n", " " + key, "wg_", "\ud800"):
        assert check.judge(wrong) is Presented.WRONG
    for missing in (None, ""):
        assert check.judge(missing) is Presented.MISSING


def test_each_key_is_known_by_its_name_its_roles_and_its_tenants(file):
    operator = file.make(now_ns=5)
    auditor = file.make("ann", roles=("tenant-auditor", "exporter"), tenants=("acme", "globex"), now_ns=7)
    check = file.check()
    found = check.judge(auditor)
    assert isinstance(found, Key)
    assert (found.name, found.roles, found.tenants, found.made_at_ns, found.actor) == (
        "ann",
        ("tenant-auditor", "exporter"),
        ("acme", "globex"),
        7,
        "key:ann",
    )
    first = check.judge(operator)
    assert isinstance(first, Key)
    assert (first.name, first.roles, first.tenants) == ("operator", ("operator",), ())


def test_a_new_key_of_the_operator_replaces_the_old_one_and_no_other(file):
    old, ann = file.make(), file.make("ann", roles=("auditor",))
    new = file.make()
    assert is_good(file.check(), new)
    assert is_good(file.check(), ann)
    assert file.check().judge(old) is Presented.WRONG


def test_a_name_that_is_taken_is_refused_and_one_that_was_revoked_is_not(file):
    key = file.make("ann", roles=("auditor",))
    with pytest.raises(KeyNameError, match="revoke it"):
        file.make("ann", roles=("operator",))
    assert is_good(file.check(), key)
    file.revoke("ann")
    assert file.check().judge(key) is Presented.WRONG
    with pytest.raises(KeyNameError):
        file.revoke("ann")
    again = file.make("ann", roles=("auditor",))
    assert is_good(file.check(), again)


@pytest.mark.parametrize(
    ("name", "roles", "tenants"),
    [
        ("", ("auditor",), ()),
        ("a\nb", ("auditor",), ()),
        ("ann", (), ()),
        ("ann", ("",), ()),
        ("ann", ("auditor",), ("a,b",)),
        ("a" * 65, ("auditor",), ()),
    ],
)
def test_what_is_no_name_makes_no_key_and_what_is_one_does(file, name, roles, tenants):
    with pytest.raises(KeyNameError):
        file.make(name, roles=roles, tenants=tenants)
    assert not file.is_there()
    file.make("a" * 64, roles=("auditor",), tenants=("a-b",))


def test_what_must_come_first_comes_first_and_stops_it(file):
    key = file.make("ann", roles=("auditor",))

    def fail():
        raise OSError("nothing can be recorded")

    with pytest.raises(OSError, match="recorded"):
        file.make("bob", roles=("auditor",), before=fail)
    with pytest.raises(OSError, match="recorded"):
        file.revoke("ann", before=fail)
    assert [each.name for each in file.known()] == ["ann"]
    assert is_good(file.check(), key)


def test_a_running_service_knows_of_a_new_key_and_forgets_a_revoked_one(file):
    file.make()
    live = LiveKeys(file)
    ann = file.make("ann", roles=("auditor",))
    assert is_good(live, ann)
    file.revoke("ann")
    assert live.judge(ann) is Presented.WRONG


def test_while_the_file_cannot_be_used_no_key_is_good(file):
    key = file.make()
    live = LiveKeys(file)
    content = file.path.read_bytes()
    file.path.write_bytes(b"{")
    assert live.judge(key) is Presented.WRONG
    file.path.unlink()
    assert live.judge(key) is Presented.WRONG
    file.path.touch(mode=0o600)
    file.path.write_bytes(content)
    assert is_good(live, key)


def test_a_verdict_is_never_taken_for_yes_or_no(file):
    key = file.make()
    for presented in ("wg_x", None, key):
        with pytest.raises(TypeError):
            bool(file.check().judge(presented))


def test_a_file_that_others_may_read_opens_nothing_and_a_private_one_does(file):
    key = file.make()
    file.path.chmod(0o640)
    with pytest.raises(KeyFileError, match="0600"):
        file.check()
    file.path.chmod(0o600)
    assert is_good(file.check(), key)


GOOD = {"name": "a", "roles": ["auditor"], "tenants": [], "made_at": "2026-01-01T00:00:00Z", "hash": "0" * 64}


def written(*keys, **changes):
    return json.dumps({"version": 2, "algorithm": "sha256", "keys": keys, **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"version": 2}', b"[" * 100_000]
    + [written({**GOOD, "hash": each}) for each in ("", "0" * 63, "G" * 64, "0" * 65, 7)]
    + [written({**GOOD, name: value}) for name, value in (
        ("name", ""), ("name", 7), ("roles", []), ("roles", "auditor"), ("roles", [7]), ("roles", ["a b"]),
        ("tenants", None), ("tenants", [""]), ("tenants", ["*"]), ("made_at", "now"), ("more", 1),
    )]
    + [written({key: value for key, value in GOOD.items() if key != name}) for name in GOOD]
    + [written(GOOD, GOOD), written(7), written(GOOD, version=3), written(GOOD, algorithm="none")]
    + [written(GOOD, more=1), b'{"version": 1, "algorithm": "sha256", "hash": "%s"}' % (b"0" * 64)],
)  # fmt: skip
def test_what_is_no_list_of_keys_opens_nothing_and_is_not_written_over(file, content):
    file.make()
    file.path.write_bytes(content)
    with pytest.raises(KeyFileError):
        file.check()
    with pytest.raises(KeyFileError):
        file.make()
    assert file.path.read_bytes() == content


def test_what_is_one_opens(file):
    file.make()
    file.path.write_bytes(written(GOOD))
    assert [key.name for key in file.known()] == ["a"]


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
