"""What an operator keeps for requests: a secret is read by its name, from its folder, and never otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.request_supplies import MAX_SECRET_BYTES, RequestSupplies
from policy.plan import Plan
from tests.runs import policy


def plan(name: str = "token") -> Plan:
    credential = f"{{from: 'secret://{name}', as: 'header:Authorization'}}"
    return policy(
        "permissions: {network: {http: [{url: 'https://a.example', access: full,"
        f" credential: {credential}}}]}}}}\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    kept(made / "token", b"Bearer abc\n")
    return made


def kept(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def found(folder: Path, name: str = "token") -> dict[str, str]:
    return dict(RequestSupplies(folder, "").of(plan(name)).secrets)


def test_a_secret_is_the_content_of_its_file_without_the_end_of_its_line(folder):
    assert found(folder) == {"secret://token": "Bearer abc"}


def test_only_what_a_plan_names_is_read(folder):
    kept(folder / "other", b"x")
    assert found(folder) == {"secret://token": "Bearer abc"}
    assert dict(RequestSupplies(folder, "").of(policy()).secrets) == {}


def test_what_is_replaced_holds_for_the_next_run(folder):
    supplies = RequestSupplies(folder, "")
    supplies.of(plan())
    kept(folder / "token", b"new")
    assert supplies.of(plan()).secrets == {"secret://token": "new"}


@pytest.mark.parametrize("name", ["../outside", "sub/token", "/etc/hostname", ".hidden", "none", "a" * 200])
def test_no_other_file_is_a_secret(folder, name):
    kept(folder.parent / "outside", b"x")
    (folder / "sub").mkdir()
    kept(folder / "sub" / "token", b"x")
    kept(folder / ".hidden", b"x")
    assert found(folder, name) == {}


@pytest.mark.parametrize(
    ("content", "mode", "is_taken"),
    [
        (b"x", 0o644, True),
        (b"x", 0o620, False),
        (b"x", 0o602, False),
        (b"", 0o600, False),
        (b"a\nb", 0o600, False),
        (b"a\r", 0o600, False),
        (b"a\0b", 0o600, False),
        (b"x" * MAX_SECRET_BYTES, 0o600, True),
        (b"x" * (MAX_SECRET_BYTES + 1), 0o600, False),
    ],
)
def test_a_file_that_others_write_or_no_header_can_hold_is_none(folder, content, mode, is_taken):
    kept(folder / "token", content, mode)
    assert bool(found(folder)) == is_taken


def test_a_link_a_pipe_and_a_folder_are_none(folder):
    kept(folder / "real", b"x")
    (folder / "link").symlink_to("real")
    os.mkfifo(folder / "pipe", 0o600)
    (folder / "folder").mkdir()
    assert found(folder, "real") == {"secret://real": "x"}
    for name in ("link", "pipe", "folder"):
        assert found(folder, name) == {}


def test_certificates_are_read_where_there_are_requests_and_must_be_there(folder, tmp_path):
    file = kept(tmp_path / "ca.pem", b"-----BEGIN")
    assert RequestSupplies(folder, str(file)).of(plan()).ca_certificates == "-----BEGIN"
    assert RequestSupplies(folder, str(file)).of(policy()).ca_certificates == ""
    with pytest.raises(FileNotFoundError):
        RequestSupplies(folder, str(tmp_path / "none.pem")).of(plan())


def test_secrets_are_not_shown(folder):
    supplies = RequestSupplies(folder, "").of(plan())
    assert "abc" not in repr(supplies)
