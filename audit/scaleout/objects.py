"""One folder of a bucket on S3-compatible storage: objects are made once, compared, and fetched.

What lies there is said in `pushing.py` and `pulling.py`. This is the only importer of `obstore`. Names come
from the transparency log, and nothing is ever listed, so what others put there is not even seen. INVARIANT:
an object is replaced only where `replace` is asked for, and only if it is still the one that was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from audit.scaleout.errors import BackendError, ConflictError, StoreError

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import S3Store

EXPECTED: Final = "`s3://bucket` or `s3://bucket/folder`"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_PART = re.compile(r"[A-Za-z0-9_=~%.-]{1,255}\Z")
_MISSING: Final = "the package obstore (`pip install wasmgate[objects]`)"
_RETRIES = 3
_CONNECT_S, _REQUEST_S, _RETRY_S = 5, 120, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the objects lie. Without keys they are looked for where such programs look: `AWS_` variables."""

    bucket: str
    folder: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    retries: int = _RETRIES

    @staticmethod
    def parse(text: str, *, endpoint: str | None = None, region: str | None = None) -> Place:
        """Read it; BackendError."""
        parts = urlsplit(text)
        folder = parts.path.strip("/")
        if parts.scheme != "s3" or not _BUCKET.match(parts.netloc) or parts.query or parts.fragment:
            raise BackendError(EXPECTED)
        if folder and not is_plain(folder):
            raise BackendError(EXPECTED)
        if endpoint is not None:
            at = urlsplit(endpoint)
            if at.scheme not in {"http", "https"} or not at.hostname or "@" in at.netloc or at.query:
                raise BackendError(
                    "an endpoint as `https://storage.example.com`, without a user or a password"
                )
        return Place(bucket=parts.netloc, folder=folder, endpoint=endpoint, region=region or "us-east-1")

    @property
    def shown(self) -> str:
        """Its name, as it may be shown to anybody."""
        return f"s3://{self.bucket}" + (f"/{self.folder}" if self.folder else "")


def is_plain(name: str) -> bool:
    """Say whether a name can be that of an object of a log: parts of a few characters, none of them dots."""
    return all(_PART.match(part) and part.strip(".") for part in name.split("/"))


@dataclass(frozen=True, slots=True)
class Held:
    """An object as it was read."""

    content: bytes
    version: str | None  # names the content, for `replace`


class Objects:
    """The objects of one log; thread-safe. Every method raises StoreError when the storage fails."""

    def __init__(self, place: Place) -> None:
        """Send nothing yet; BackendError if the library is missing."""
        try:
            import obstore  # noqa: PLC0415  # an extra: not everybody has it
            from obstore.exceptions import BaseError  # noqa: PLC0415
            from obstore.store import S3Store  # noqa: PLC0415
        except ImportError as err:
            raise BackendError(_MISSING) from err
        self.place = place
        self._obstore, self._error = obstore, BaseError
        options: dict[str, str] = {"region": place.region, "checksum_algorithm": "SHA256"}
        if place.endpoint is not None:
            options |= {"endpoint": place.endpoint}
        if place.key_id is not None and place.secret is not None:
            options |= {"access_key_id": place.key_id, "secret_access_key": place.secret}
        self._store: S3Store = S3Store(
            place.bucket,
            prefix=place.folder or None,
            virtual_hosted_style_request=place.endpoint is None,
            client_options={
                "allow_http": place.endpoint is not None and place.endpoint.startswith("http:"),
                "connect_timeout": timedelta(seconds=_CONNECT_S),
                "timeout": timedelta(seconds=_REQUEST_S),
            },
            retry_config={"max_retries": place.retries, "retry_timeout": timedelta(seconds=_RETRY_S)},
            **options,  # type: ignore[arg-type]  # all of them are text
        )

    def shown(self, name: str) -> str:
        """Give the name of an object for people."""
        return f"{self.place.shown}/{name}"

    def put_new(self, name: str, content: bytes) -> bool:
        """Make an object; says whether it was not there. ConflictError if another one is."""
        with self._telling(name):
            try:
                self._obstore.put(self._store, _checked(name), content, mode="create", use_multipart=False)
            except self._obstore.exceptions.AlreadyExistsError:
                pass
            else:
                return True
        held = self.get(name, most=len(content))
        if held is None or held.content != content:
            raise ConflictError(self.shown(name), "another object has this name; it was left as it is")
        return False

    def replace(self, name: str, content: bytes, *, before: Held | None) -> None:
        """Make an object, or put it in the place of the one that was read; ConflictError if that changed."""
        with self._telling(name):
            mode: Literal["create"] | UpdateVersion = "create"
            if before is not None and before.version is not None:
                mode = {"e_tag": before.version}
            try:
                self._obstore.put(self._store, _checked(name), content, mode=mode, use_multipart=False)
            except (
                self._obstore.exceptions.AlreadyExistsError,
                self._obstore.exceptions.PreconditionError,
            ) as err:
                raise ConflictError(self.shown(name), "somebody else replaced it meanwhile") from err

    def delete(self, name: str) -> bool:
        """Delete an object; says whether there was one. StoreError where the storage keeps it."""
        with self._telling(name):
            try:
                self._obstore.head(self._store, _checked(name))
                self._obstore.delete(self._store, name)
            except FileNotFoundError:
                return False
            return True

    def get(self, name: str, *, most: int) -> Held | None:
        """Read an object of at most so many bytes; None if there is none. ConflictError if it is larger."""
        with self._telling(name):
            try:
                found = self._obstore.get(self._store, _checked(name))
            except FileNotFoundError:
                return None
            if found.meta["size"] > most:
                raise ConflictError(self.shown(name), f"it has {found.meta['size']} bytes, expected {most}")
            return Held(bytes(found.bytes()), found.meta["e_tag"])

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (self._error, OSError, ValueError) as err:
            # its first line says what happened; what follows repeats it with the request in it
            said = str(err).partition("\n")[0].strip()
            for word in (self.place.secret, self.place.key_id):
                said = said.replace(word, "***") if word else said
            raise StoreError(self.shown(name), said or type(err).__name__) from None


def _checked(name: str) -> str:
    if not is_plain(name):
        raise ConflictError(name, "no object of a log has such a name")
    return name
