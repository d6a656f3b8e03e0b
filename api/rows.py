"""Records as JSON can hold them, for every surface.

Which records there are is the matter of whoever asks. INVARIANT: a row keeps all its columns, in their order.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def plain_row(row: Mapping[str, object]) -> dict[str, object]:
    """Give a row with the bytes of its payload in base64, and their hash in hexadecimal digits."""
    found = dict(row)
    payload, digest = found.get("payload"), found.get("payload_sha256")
    if isinstance(payload, bytes):
        found["payload"] = base64.b64encode(payload).decode()
    if isinstance(digest, bytes):
        found["payload_sha256"] = digest.hex()
    return found
