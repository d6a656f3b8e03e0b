"""What the operator keeps for requests of guests: secrets that the host puts in, and CA certificates.

Both are read for each run, so that what is replaced holds for the next one. What a policy says of them is
`permissions.network.http[].credential`. SECURITY: a secret is read by the name that a policy gives it, from
one folder, and never through a link; a file that others may write is not taken.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox.network.brief import Supplies

if TYPE_CHECKING:
    from policy.plan import Plan

SCHEME: Final = "secret://"
MAX_SECRET_BYTES: Final = 8 << 10
MAX_CA_BYTES: Final = 4 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]+")


class RequestSupplies:
    """Reads what a run needs, when it needs it."""

    def __init__(self, secrets_dir: Path, ca_file: str) -> None:
        """Take secrets from one folder, a file each; without a file of CAs those of the machine hold."""
        self._secrets_dir = secrets_dir
        self._ca_file = Path(ca_file) if ca_file else None

    def of(self, plan: Plan) -> Supplies:
        """Give what the plan names, as far as it is there and may be used."""
        named = {each.credential for each in plan.network.requests if each.credential}
        found = {name: self._secret(name.removeprefix(SCHEME)) for name in named}
        certificates = ""
        if plan.network.requests and self._ca_file is not None:
            certificates = _read(self._ca_file, MAX_CA_BYTES).decode("ascii", "replace")
        return Supplies({name: value for name, value in found.items() if value}, certificates)

    def _secret(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            return ""
        with suppress(OSError):
            content = _read(self._secrets_dir / name, MAX_SECRET_BYTES).removesuffix(b"\n")
            # what no header can hold is no secret for one
            return content.decode("latin-1") if _VALUE.fullmatch(content) else ""
        return ""


def _read(path: Path, most: int) -> bytes:
    """Read a file that nobody else may write; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(0, "not a file that only its owner may write", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(0, "too long", str(path))
    return content
