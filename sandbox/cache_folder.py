"""The folder of the artifact cache: its files by name, its key, and what a crash left in it.

What the files mean is `cache.py`. Every file is reached through the folder as it was opened and checked, and
no link is followed.
INVARIANT: a file that is not whole has a name of its own, and whoever writes it holds a lock on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KEY: Final = "key"
_KEY_BYTES: Final = 32
_PART: Final = ".part"
# 10 seconds pass between making a file and locking it only where the writer was ended.
_UNLOCKED_S: Final = 10
# An hour: where locks are not to be had, what is unfinished for so long was left by a crash.
_PART_AGE_S: Final = 3_600
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
_DAMAGED: Final = "its key is damaged or readable by others"


class CacheError(Exception):
    """The cache cannot be used: its folder or its key is not ours alone."""

    def __init__(self, root: Path, problem: str, advice: str) -> None:
        """Keep where, what is wrong, and what to do."""
        super().__init__(root, problem, advice)
        self.root = root
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        """Write the sentence."""
        return f"{self.root}: {self.problem} ({self.advice})"


class CacheFolder:
    """An open folder that belongs to this user alone; made if needed."""

    def __init__(self, root: Path) -> None:
        """Open it; raises CacheError if others can change it, or if it cannot be had."""
        self._root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dir = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as err:
            raise CacheError(
                root, f"cannot be opened: {err.strerror}", "name a folder that is no link"
            ) from err
        try:
            self._make_private()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it; files that were opened stay open."""
        fd, self._dir = self._dir, -1
        if fd >= 0:
            os.close(fd)

    def key(self) -> bytes:
        """Return the key, made if there is none; raises CacheError if it is not ours alone."""
        with contextlib.suppress(FileNotFoundError):
            return self._checked_key()
        part = part_of(_KEY)
        try:
            self.write_small(part, os.urandom(_KEY_BYTES))
            # INVARIANT: a link is made whole or not at all, so no process ever reads half a key, and the
            # first one wins.
            with contextlib.suppress(FileExistsError):
                os.link(part, _KEY, src_dir_fd=self._dir, dst_dir_fd=self._dir, follow_symlinks=False)
            self.sync()
        except OSError as err:
            raise CacheError(
                self._root, f"its key cannot be written: {err.strerror}", "look at the disk"
            ) from err
        finally:
            self.unlink(part)
        return self._checked_key()

    def open(self, file: str) -> int:
        """Open a file for reading."""
        # SECURITY: O_NONBLOCK, so that a FIFO put in the place of an artifact cannot hold the supervisor up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(file, flags, dir_fd=self._dir)

    def create(self, file: str) -> int:
        """Make a new file, locked by its descriptor."""
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._dir)
        with contextlib.suppress(OSError):  # no locks here: its age has to tell
            fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def read_small(self, file: str, size: int) -> bytes:
        """Return a file's bytes, or one more than `size` of them."""
        fd = self.open(file)
        try:
            return os.read(fd, size + 1)
        finally:
            os.close(fd)

    def write_small(self, file: str, content: bytes) -> None:
        """Make a new file of some bytes, durably."""
        fd = self.create(file)
        try:
            if os.write(fd, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, and end what had that name."""
        os.rename(old, new, src_dir_fd=self._dir, dst_dir_fd=self._dir)

    def unlink(self, file: str) -> None:
        """Take a file's name away, if it has it."""
        with contextlib.suppress(OSError):
            os.unlink(file, dir_fd=self._dir)

    def sync(self) -> None:
        """Make the names durable."""
        os.fsync(self._dir)

    def files(self, suffix: str) -> Iterator[tuple[float, int, str]]:
        """When each file with such a name was used last, its size, its name; removes what a crash left."""
        with os.scandir(self._dir) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(suffix):
                        yield status.st_mtime, status.st_size, entry.name
                    elif entry.name.endswith(_PART) and self._is_left(entry.name, status.st_mtime):
                        self.unlink(entry.name)

    def _is_left(self, part: str, written: float) -> bool:
        age_s = time.time() - written
        if age_s < _UNLOCKED_S:
            return False
        try:
            fd = self.open(part)
        except OSError:  # no file of ours
            return age_s > _PART_AGE_S
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return age_s > _PART_AGE_S
        finally:
            os.close(fd)
        return True

    def _make_private(self) -> None:
        status = os.fstat(self._dir)
        if status.st_uid != os.geteuid():
            raise CacheError(self._root, "belongs to another user", "name a folder of your own")
        if status.st_mode & _OTHERS_WRITE:
            raise CacheError(self._root, "can be written by other users", f"chmod 700 {self._root}")
        if status.st_mode & _OTHERS:
            # names of artifacts tell which modules were run
            os.fchmod(self._dir, 0o700)

    def _checked_key(self) -> bytes:
        try:
            fd = self.open(_KEY)
            try:
                key = os.read(fd, _KEY_BYTES + 1)
                is_ours = is_private(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise
        except OSError as err:
            raise CacheError(self._root, _DAMAGED, "delete the folder") from err
        if not is_ours or len(key) != _KEY_BYTES:
            raise CacheError(self._root, _DAMAGED, "delete the folder")
        return key


def is_private(fd: int) -> bool:
    """Whether an open file is an ordinary one that this user alone can read and write."""
    status = os.fstat(fd)
    is_ours = status.st_uid == os.geteuid() and not status.st_mode & _OTHERS
    return is_ours and stat.S_ISREG(status.st_mode)


def part_of(name: str) -> str:
    """A name that nobody else has, for what is to become the file `name`."""
    return f".{name}.{secrets.token_hex(8)}{_PART}"
