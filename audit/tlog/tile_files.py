"""Tiles as files: read with suspicion, and written so that a crash leaves only what was there before.

What tiles hold lives in `tiles.py`, which of them make up the log in `log.py`. Files are opened without
following links, and read no further than they may be long. INVARIANT: a name without a leading dot that
`write` made is complete and durable when `write` returns.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from audit.errors import WriteError
from audit.store import hidden_name, make_directory, sync_directory
from audit.tlog.errors import DamageError
from audit.tlog.merkle import HASH_BYTES
from audit.tlog.tiles import ENTRIES, MAX_ENTRY_BYTES, WIDTH, Tile, unpack_entries, unpack_hashes

T = TypeVar("T")

_THREADS = 16
_AT_ONCE = 128  # files that are open at the same time while they are written; the usual limit is 1024


def read_file(path: Path, *, most: int) -> bytes:
    """Bytes of a regular file of at most `most` bytes.

    Raises DamageError if it is something else or larger, FileNotFoundError if it is not there.
    """
    try:
        # O_NONBLOCK: a pipe in its place must not hold us up
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise DamageError(path, err.strerror or str(err)) from err
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DamageError(path, "it is no regular file")
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(most + 1)
    except OSError as err:
        raise DamageError(path, err.strerror or str(err)) from err
    finally:
        os.close(handle)
    if len(content) > most:
        raise DamageError(path, f"it has more than {most} bytes")
    return content


def publish_all(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write many files as `audit.store.publish` writes one, at a fraction of the time.

    All are durable when this returns; raises WriteError if the disk refuses, and then some may be there.
    """
    group: list[tuple[Path, bytes]] = []
    for one in contents:
        group.append(one)
        if len(group) == _AT_ONCE:
            _publish_group(group)
            group = []
    _publish_group(group)


def _publish_group(group: Sequence[tuple[Path, bytes]]) -> None:
    written: list[tuple[int, Path, Path]] = []
    path = Path()
    try:
        for path, content in group:
            make_directory(path.parent)
            hidden = hidden_name(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(hidden, flags, 0o600)
            written.append((handle, hidden, path))
            _write_all(handle, content)
        _at_once(os.fsync, [handle for handle, _, _ in written])
        for _, hidden, path in written:
            hidden.rename(path)
        _at_once(sync_directory, sorted({path.parent for _, _, path in written}))
    except OSError as err:
        _drop(written)
        raise WriteError(path, err.strerror or str(err)) from err
    except WriteError:  # of a folder that could not be made
        _drop(written)
        raise
    finally:
        for handle, _, _ in written:
            os.close(handle)


def _drop(written: Sequence[tuple[int, Path, Path]]) -> None:
    for _, hidden, _ in written:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)


def _at_once(sync: Callable[[T], None], items: Sequence[T]) -> None:
    """Sync many things; the file system then needs one commit where one after the other needs many."""
    if len(items) == 1:
        sync(items[0])
        return
    with ThreadPoolExecutor(min(_THREADS, max(len(items), 1))) as pool:
        for _ in pool.map(sync, items):  # raises what one of them raised
            pass


class TileFiles:
    """The tiles below the folder of one log."""

    def __init__(self, directory: Path) -> None:
        """Touch no disk."""
        self._directory = directory

    def hashes(self, tile: Tile) -> list[bytes]:
        """Hashes of a tile; where only the full tile is left, the first of its hashes. DamageError."""
        found, content = self._read(tile, HASH_BYTES)
        return unpack_hashes(content, found)[: tile.width]

    def entries(self, tile: Tile) -> list[bytes]:
        """Entries of a bundle; where only the full one is left, the first of its entries. DamageError."""
        found, content = self._read(tile, MAX_ENTRY_BYTES + 2)
        return unpack_entries(content, found)[: tile.width]

    def _read(self, tile: Tile, each: int) -> tuple[Tile, bytes]:
        # SPEC: a partial tile may be gone as soon as there is the full one (tlog-tiles, partial tiles)
        for one in (tile, tile.full):
            with contextlib.suppress(FileNotFoundError):
                return one, read_file(self._directory / one.path, most=one.width * each)
        raise DamageError(self._directory / tile.path, "the file is missing")

    def write(self, contents: Iterable[tuple[Tile, bytes]]) -> None:
        """Write tiles, durably; WriteError if the disk refuses, and then some may be there."""
        publish_all((self._directory / tile.path, content) for tile, content in contents)

    def drop_partial(self, tile: Tile, *, beyond: int = 0) -> None:
        """Remove the partial tiles in the place of `tile` that are wider than `beyond`, as far as it goes."""
        folder = (self._directory / Tile(tile.level, tile.index, 1).path).parent
        with contextlib.suppress(OSError):
            for one in list(folder.iterdir()):
                if one.name.startswith(".") or (one.name.isdecimal() and int(one.name) > beyond):
                    one.unlink(missing_ok=True)
            if not beyond:
                folder.rmdir()

    def drop_after(self, size: int) -> None:
        """Remove what a crash left of tiles that a log of `size` leaves does not have, as far as it goes."""
        level = ENTRIES
        while True:
            count = size >> 8 * max(level, 0)
            index = count // WIDTH
            self.drop_partial(Tile(level, index), beyond=count % WIDTH)
            self._drop_hidden((self._directory / Tile(level, index).path).parent)
            while self._drop_full(Tile(level, index)):
                index += 1
                self.drop_partial(Tile(level, index))
            level += 1
            if not (self._directory / "tile" / str(level)).is_dir():
                return

    def _drop_hidden(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            for one in list(folder.iterdir()):
                if one.name.startswith(".") and one.name.endswith(".part"):
                    one.unlink(missing_ok=True)

    def _drop_full(self, tile: Tile) -> bool:
        path = self._directory / tile.path
        try:
            path.unlink()
        except OSError:
            return False
        return True


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]
