"""The directories that a run starts with: checked on the host, and made where they are scratch.

Which there are is the plan's matter, what may be done in them the monitor's. SECURITY: a mount is the
directory that the policy names, not one that a link on the way to it leads to: the rules were compiled for
the name. It is looked at twice: here, so that a person reads why, and by `held`, which follows no link and
so leaves no moment in which another guest, with rights to a directory above, could put one there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from audit.inert import inert

if TYPE_CHECKING:
    from policy.plan import Mount, Plan

Preopens: TypeAlias = "tuple[tuple[str, str, bool], ...]"
"""Host directory, guest path and mutability, in the plan's order."""


_EMPTY = ".empty"
"""Stands in for directories that need not exist; no scratch directory is named so, and no rule grants it."""


class MountRefused(Exception):  # noqa: N818  # an outcome of a run, shown as `refused`, not a mistake of ours
    """A run cannot be set up as its plan says; the message is inert."""


def open_mounts(plan: Plan, scratch: Path | None, *, protected: tuple[Path, ...] = ()) -> Preopens:
    """Find the mounts of a plan; `scratch` is an empty directory of this run.

    No guest may change anything in the `protected` directories. Raises MountRefused.
    """
    for mount in plan.mounts:
        _keep_off(mount, protected)
    return tuple((_host(mount, scratch), mount.guest, mount.is_mutable) for mount in plan.mounts)


@contextmanager
def held(preopens: Preopens) -> Iterator[tuple[Preopens, tuple[int, ...]]]:
    """The same mounts by paths that lead to open directories, and these; while the context lasts.

    Raises OSError.
    """
    with contextlib.ExitStack() as stack:
        opened = tuple(_open_beneath_root(host, stack) for host, _, _ in preopens)
        yield (
            tuple(
                (f"/proc/self/fd/{fd}", guest, is_mutable)
                for fd, (_, guest, is_mutable) in zip(opened, preopens, strict=True)
            ),
            opened,
        )


def _open_beneath_root(path: str, stack: contextlib.ExitStack) -> int:
    """Open a directory by its absolute path, of which no part may be a link."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open("/", flags)
    for part in Path(path).parts[1:]:
        try:
            inner = os.open(part, flags, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    stack.callback(os.close, handle)
    return handle


def _keep_off(mount: Mount, protected: tuple[Path, ...]) -> None:
    """Refuse a mount through which a guest could rewrite the evidence, or the code of later runs."""
    if mount.scratch or not mount.is_mutable:
        return
    host = Path(mount.host)
    for own in (path.resolve() for path in protected):
        if host.is_relative_to(own) or own.is_relative_to(host):
            raise MountRefused(
                f"mount `{inert(mount.guest)}`: `{inert(mount.host)}` and `{inert(str(own))}`, where wasmgate"
                " keeps its own files, lie inside one another: grant another directory for writing, or keep"
                " these files elsewhere"
            )


def _made(mount: Mount, scratch: Path | None, name: str) -> str:
    """A directory of this run."""
    if scratch is None:
        raise MountRefused(f"mount `{inert(mount.guest)}`: there is no place for scratch files")
    folder = scratch.resolve() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder)


def _host(mount: Mount, scratch: Path | None) -> str:
    if mount.scratch:
        return _made(mount, scratch, mount.scratch)
    path = Path(mount.host)
    real = path.resolve()
    if not real.is_dir():
        if mount.is_optional:
            return _made(mount, scratch, _EMPTY)
        raise MountRefused(
            f"mount `{inert(mount.guest)}`: expected a directory at `{inert(mount.host)}`, found none"
        )
    if real != path:
        raise MountRefused(
            f"mount `{inert(mount.guest)}`: `{inert(mount.host)}` leads through a link to"
            f" `{inert(str(real))}`: write that path in the policy, so that its rules are judged by it"
        )
    return str(path)
