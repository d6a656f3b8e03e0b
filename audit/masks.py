"""Blots out what a policy does not want stored: paths, and what is kept of the bytes that calls moved.

Which values these are is said in `terms.py`; keys are kept in `mask_keys.py`. Masks apply to every row, to
refusals too, before rows are condensed or written. INVARIANT: a column that was changed has its bit in
`masked`, and Python runs once for each distinct text, never once for each row.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import SCHEMA, Masked, TargetKind
from audit.json_mask import blot_out
from audit.mask_links import Links, normal
from audit.start import ExecutionStart, MountPoint
from audit.terms import Mask, Veil

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PATHS = {
    "target": Masked.TARGET,
    "guest_target": Masked.GUEST_TARGET,
    "target2": Masked.TARGET2,
}
_NEEDS_CARE = r"(?:^|/)\.{0,2}(?:/|\z)"  # an empty name, `.` or `..`
_REST = "/…"
_HASH_BYTES = 16


class MaskKeys(Protocol):
    """Where the keys of masks come from."""

    def key(self, tenant: str) -> bytes | None:
        """Give a tenant's key; None where there is none at hand, and what would need it is dropped."""
        ...


class NoKeys:
    """No keys: what would be hashed is dropped."""

    def key(self, tenant: str) -> bytes | None:  # noqa: ARG002  # the shape is that of MaskKeys
        """Give none."""
        return None


def hashed(key: bytes, text: str) -> str:
    """Give what stands for `text` where it is masked by hash: `hmac:` and 32 hexadecimal digits."""
    return "hmac:" + hmac.digest(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hex()[:32]


def candidate(keys: MaskKeys, tenant: str, value: str) -> str | None:
    """Give what `value`, in its stored form, is masked as for a tenant, to search for it; None without a key.

    The text is hashed as it stands: a path must be spelt as the record would have it.
    """
    key = keys.key(tenant)
    return None if key is None else hashed(key, value)


def shortened(text: str, names: int) -> str:
    """Give the first `names` names of a path, with `/…` where something was left out."""
    scheme, separator, rest = text.partition("://")
    head, path = (scheme + separator, rest) if separator else ("", text)
    parts = path.split("/")
    # The empty name before the first slash is none.
    kept = names + (1 if not head and parts[0] == "" else 0)
    return text if len(parts) <= kept else head + "/".join(parts[:kept]) + _REST


def mask(rows: pa.Table, start: ExecutionStart, keys: MaskKeys) -> pa.Table:
    """Give `rows` (`audit.columns.SCHEMA`) with what the terms of their execution blot out."""
    masks = start.audit.mask
    if not masks or not rows.num_rows:
        return rows
    texts = {name: _Texts.of(rows.column(name)) for name in _PATHS}
    is_path = rows.column("target_kind").to_numpy() == int(TargetKind.PATH)
    found = _Found(texts, is_path, start.mounts, Links.of(rows))
    values = {name: rows.column(name) for name in rows.column_names}
    bits = rows.column("masked").to_numpy().astype(np.int64)
    choice = found.first([each for each in masks if each.column == "path"])
    values["payload"], values["payload_sha256"], changed = _payloads(rows, masks, found)
    bits |= np.where(changed, int(Masked.PAYLOAD), 0)
    chosen = [each for each in masks if each.column == "path"]
    key = keys.key(start.tenant) if any(each.veil is Veil.HMAC for each in chosen) else None
    for name, bit in _PATHS.items():
        values[name], changed = texts[name].veiled(choice, chosen, key)
        bits |= np.where(changed, int(bit), 0)
    values["masked"] = pa.array(bits, pa.int64()).cast(pa.int8())
    return pa.table([values[name] for name in rows.column_names], schema=rows.schema)


@dataclass(frozen=True, slots=True)
class _Texts:
    """One column of text: for each row which of the distinct texts it has, -1 for none."""

    codes: Ints
    distinct: tuple[str, ...]

    @staticmethod
    def of(column: pa.ChunkedArray) -> _Texts:
        coded = column.unify_dictionaries().combine_chunks()
        codes = np.asarray(pc.fill_null(coded.indices, -1)).astype(np.int64)
        return _Texts(codes, tuple(coded.dictionary.to_pylist()))

    def matching(self, pattern: str, mounts: Sequence[MountPoint]) -> Bools:
        """Say for each distinct text whether the path that it names fits a pattern, and false at the end.

        A host path below a mount is also taken as the guest names it.
        """
        known = pa.array(self.distinct, pa.string())
        care = np.asarray(pc.match_substring_regex(known, _NEEDS_CARE)).astype(np.bool_)
        plain = [normal(text) if needs else text for text, needs in zip(self.distinct, care, strict=True)]
        found = np.zeros(len(plain) + 1, np.bool_)
        for names in (plain, *(_as_guest(plain, mount) for mount in mounts)):
            fits = pc.match_substring_regex(pa.array(names, pa.string()), pattern)
            found[:-1] |= np.asarray(pc.fill_null(fits, fill_value=False)).astype(np.bool_)
        return found

    def veiled(self, choice: Ints, masks: Sequence[Mask], key: bytes | None) -> tuple[pa.ChunkedArray, Bools]:
        """Give the column with each text as the mask of its row leaves it, and which rows that changed."""
        count = len(self.distinct) + 1
        pairs, members = np.unique((choice + 1) * count + self.codes + 1, return_inverse=True)
        words: dict[str, int] = {}
        codes, changes = np.full(len(pairs), -1, np.int64), np.zeros(len(pairs), np.bool_)
        for index, pair in enumerate(pairs.tolist()):
            if pair % count == 0:
                continue
            before = self.distinct[pair % count - 1]
            after = before if pair < count else _veil(before, masks[pair // count - 1], key)
            changes[index] = after != before
            codes[index] = -1 if after is None else words.setdefault(after, len(words))
        rows = codes[members].astype(np.int32)
        coded = pa.DictionaryArray.from_arrays(
            # what lies under a null is looked up as well when dictionaries are put together
            pa.array(np.maximum(rows, 0), pa.int32(), mask=rows < 0),
            pa.array(list(words), pa.string()),
        )
        return pa.chunked_array([coded], SCHEMA.field("target").type), changes[members]


@dataclass(frozen=True, slots=True)
class _Found:
    """Which rows a mask is for."""

    texts: dict[str, _Texts]
    is_path: Bools
    mounts: Sequence[MountPoint]
    links: Links

    def by(self, wanted: Mask) -> Bools:
        """Rows that one mask is for: of a path, any of the texts fits, or another name that a link gave it.

        What was moved from or to nobody knows where may be what a mask of payloads is for.
        """
        if not wanted.pattern:
            return self.is_path if wanted.column == "path" else np.ones(len(self.is_path), np.bool_)
        rows = np.zeros(len(self.is_path), np.bool_)
        columns = self.texts | {name: _Texts.of(column) for name, column in self.links.contents.items()}
        hits = {
            name: column.matching(wanted.pattern, self.mounts)[column.codes]
            for name, column in columns.items()
        }
        if self.links.rows.any():
            self.links.follow(
                hits, {name: (column.codes, column.distinct) for name, column in columns.items()}
            )
        for each in hits.values():
            rows |= each
        rows &= self.is_path
        if wanted.column == "payload":
            rows |= (self.texts["target"].codes < 0) & (self.texts["guest_target"].codes < 0)
        return rows

    def first(self, masks: Sequence[Mask]) -> Ints:
        """Give for each row the first mask that is for it, or -1."""
        choice = np.full(len(self.is_path), -1, np.int64)
        for index, wanted in enumerate(masks):
            choice = np.where((choice < 0) & self.by(wanted), index, choice)
        return choice


def _veil(text: str, by: Mask, key: bytes | None) -> str | None:
    if by.veil is Veil.PREFIX:
        return shortened(text, by.names)
    return hashed(key, text) if by.veil is Veil.HMAC and key is not None else None


def _as_guest(paths: Sequence[str], mount: MountPoint) -> list[str | None]:
    """Give each path below a mount as the guest names it, None for the others."""
    base, guest = mount.base.rstrip("/"), mount.guest.rstrip("/")
    return [
        (guest + path[len(base) :]) or "/" if path == base or path.startswith(base + "/") else None
        for path in paths
    ]


def _payloads(
    rows: pa.Table, masks: Sequence[Mask], found: _Found
) -> tuple[pa.ChunkedArray, pa.ChunkedArray, Bools]:
    """Give what is left of the bytes and of their digests, and which rows lost something."""
    payload, digest = rows.column("payload").combine_chunks(), rows.column("payload_sha256").combine_chunks()
    lost = np.zeros(rows.num_rows, np.bool_)
    for wanted in (each for each in masks if each.column == "payload" and each.veil is not Veil.JSON):
        concerned = found.by(wanted)
        lost |= concerned & np.asarray(pc.is_valid(payload))
        payload = pc.if_else(pa.array(~concerned), payload, pa.scalar(None, payload.type))
        if wanted.veil is Veil.DROP:
            lost |= concerned & np.asarray(pc.is_valid(digest))
            digest = pc.if_else(pa.array(~concerned), digest, pa.scalar(None, digest.type))
    pointers = [each.pointer for each in masks if each.veil is Veil.JSON]
    if pointers:
        payload, gone = _json(rows, payload, pointers)
        # SECURITY: a digest gives a short value away, and one of a piece may be of the value alone
        digest = pc.if_else(pa.array(~gone), digest, pa.scalar(None, digest.type))
        lost |= gone
    return pa.chunked_array([payload]), pa.chunked_array([digest]), lost


def _json(rows: pa.Table, payload: pa.Array, pointers: Sequence[str]) -> tuple[pa.Array, Bools]:
    """Give payloads as documents without the values that pointers name, and the rows whose digest has to go.

    A digest stays where it alone was asked for.
    """
    moved = rows.column("bytes_in").to_numpy() + rows.column("bytes_out").to_numpy()
    left: list[bytes | None] = [None] * len(payload)
    there = np.asarray(pc.is_valid(payload)).astype(np.bool_)
    # the head of what was moved is no whole document, whatever it looks like
    is_whole = there & (np.asarray(pc.fill_null(pc.binary_length(payload), -1)) == moved)
    for index in np.flatnonzero(is_whole).tolist():
        left[index] = blot_out(payload[index].as_py(), pointers)
    is_less = (rows.column("masked").to_numpy() & int(Masked.PAYLOAD)) != 0
    return pa.array(left, payload.type), there | is_less
