"""No guest is given wasmgate's own folders to write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy import compile_policy, load_document
from sandbox.preopens import MountRefused, open_mounts


def _open(mount: Path, access: str, own: Path) -> None:
    text = f"""version: 1
metadata: {{name: own}}
permissions: {{storage: {{allow: [{{uri: "fs://{mount}/**", mount: /m, access: [{access}]}}]}}}}
"""
    plan = compile_policy(load_document(text.encode(), file="p.yaml"), base_dir="/", now_ns=None)
    open_mounts(plan, None, protected=(own,))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name in ("home/audit/wal", "beside", "home/audit-old"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "home" / "audit"


@pytest.mark.parametrize("where", ["home", "home/audit", "home/audit/wal", "."])
def test_a_mount_to_write_to_that_holds_the_log_or_lies_in_it_is_refused(
    tmp_path: Path, own: Path, where: str
) -> None:
    with pytest.raises(MountRefused, match="keeps its own files"):
        _open((tmp_path / where).resolve(), "read, list, create, write", own)


@pytest.mark.parametrize("where", ["beside", "home/audit-old"])
def test_a_mount_beside_it_is_not(tmp_path: Path, own: Path, where: str) -> None:
    _open((tmp_path / where).resolve(), "read, list, create, write", own)


def test_a_mount_that_is_only_read_is_not(tmp_path: Path, own: Path) -> None:
    _open(tmp_path.resolve(), "read, list", own)


def test_a_folder_that_is_a_link_is_where_it_leads(tmp_path: Path, own: Path) -> None:
    (tmp_path / "linked").symlink_to(own)
    with pytest.raises(MountRefused):
        _open(own.resolve(), "read, write", tmp_path / "linked")
