"""Which mounts are taken to hold no devices."""

from __future__ import annotations

import pytest

from policy import Plan, compile_policy, load_document
from sandbox.device_free import device_free

ROOT = "1 0 254:1 / / rw,relatime - ext4 /dev/vda rw"
OFF = "2 1 254:2 / /srv rw,nosuid,nodev - ext4 /dev/vdb rw"
INNER_OFF = "3 2 254:3 / /srv/data/in rw,nodev - ext4 /dev/vdc rw"
INNER_ON = "3 2 254:3 / /srv/data/in rw - ext4 /dev/vdc rw"
BESIDE_ON = "3 2 254:3 / /srv/database rw - ext4 /dev/vdc rw"
OVER_ON = "4 2 254:4 / /srv rw - ext4 /dev/vdd rw"
SPACED = r"5 1 254:5 / /srv/da\040ta rw - ext4 /dev/vde rw"


def _plan(uri: str = "fs:///srv/data/**") -> Plan:
    text = f"""version: 1
metadata: {{name: mounts}}
permissions: {{storage: {{allow: [{{uri: "{uri}", mount: /m, access: [read]}}]}}}}
"""
    return compile_policy(load_document(text.encode(), file="p.yaml"), base_dir="/", now_ns=None)


@pytest.mark.parametrize(
    "lines",
    [(ROOT, OFF), (ROOT, OFF, INNER_OFF), (ROOT, OFF, BESIDE_ON)],
    ids=["alone", "all the way", "beside"],
)
def test_a_mount_without_devices_is_known(lines: tuple[str, ...]) -> None:
    assert device_free(_plan(), "\n".join(lines)) == {0}


@pytest.mark.parametrize(
    "lines",
    [(ROOT,), (ROOT, OFF, INNER_ON), (ROOT, OFF, OVER_ON), (), ("nonsense",)],
    ids=["devices", "further down", "mounted over", "nothing known", "unreadable"],
)
def test_where_one_could_be_it_is_looked_for(lines: tuple[str, ...]) -> None:
    assert device_free(_plan(), "\n".join(lines)) == frozenset()


def test_a_space_in_a_mount_point_is_read() -> None:
    assert device_free(_plan("fs:///srv/da ta/**"), f"{ROOT}\n{OFF}\n{SPACED}") == frozenset()
    assert device_free(_plan("fs:///srv/other/**"), f"{ROOT}\n{OFF}\n{SPACED}") == {0}


def test_scratch_holds_none() -> None:
    assert device_free(_plan("tmp://work"), "") == {0}
