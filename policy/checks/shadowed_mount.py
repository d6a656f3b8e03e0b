"""The check for mounts that hide a part of another mount from the guest.

Host directories that are granted twice are found by `nested_grants.py`. Here the guest's paths are
compared: most programs take the innermost mount, so what the outer one holds there is out of reach.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity, quoted
from policy.uris import Extent, Space, parse_allow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.schema import StorageAllow

ID = "shadowed-mount"
SUMMARY = "a mount lies inside another one, which holds another directory there"
WHY = "the program sees the inner one, and a program that opens paths itself can still take the outer one"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each mount that lies in the guest path of another, and not in its directory."""
    mounts = [(allow, *_place(allow)) for allow in document.model.permissions.storage.allow]
    first = {guest: (allow, host) for allow, guest, host in reversed(mounts)}
    for index, (inner, guest, host) in enumerate(mounts):
        for depth in range(len(guest)):
            outer, outer_host = first.get(guest[:depth], (None, ()))
            if outer is not None and host != (*outer_host, *guest[depth:]):
                shown = f"{quoted(outer.mount or outer.uri)} already holds something else there: {WHY}"
                path = ("permissions", "storage", "allow", index, "mount" if inner.mount else "uri")
                finding = document.source.finding(
                    ID, path, problem=shown, suggestion="mount it beside the other one"
                )
                yield replace(finding, severity=Severity.WARNING)
                break


def _place(allow: StorageAllow) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The guest's path and the host's, by segment; what the host's starts with tells spaces apart."""
    target = parse_allow(allow.uri)
    kind = "tmp" if target.space is Space.SCRATCH else "./" if target.is_relative else "/"
    host = (kind, *target.segments)
    guest = tuple(part for part in (allow.mount or "/".join(target.segments)).split("/") if part)
    if target.extent is Extent.FILE and target.space is Space.HOST:
        return guest[:-1], host[:-1]
    return guest, host
