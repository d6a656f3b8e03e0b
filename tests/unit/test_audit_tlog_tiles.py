"""Tiles have the names, widths and bytes that C2SP tlog-tiles gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.errors import DamageError, EntryError, NoteError, RangeError
from audit.tlog.merkle import MAX_SIZE, leaf_hash
from audit.tlog.tiles import (
    ENTRIES,
    Tile,
    TiledTree,
    pack_entries,
    parse_path,
    tiles_of,
    unpack_entries,
    unpack_hashes,
    width_at,
)
from tests.tlogs import entries_of, oracle_path, oracle_proof, oracle_root

# the examples of the specification
NAMES = {
    Tile(0, 1234067): "tile/0/x001/x234/067",
    Tile(0, 0, 1): "tile/0/000.p/1",
    Tile(ENTRIES, 999): "tile/entries/999",
    Tile(ENTRIES, 1000, 112): "tile/entries/x001/000.p/112",
    Tile(2, 5): "tile/2/005",
    Tile(63, 0, 255): "tile/63/000.p/255",
}


@pytest.mark.parametrize(("tile", "name"), NAMES.items())
def test_names_are_those_of_the_specification(tile, name):
    assert tile.path == name
    assert parse_path(name) == tile


TILES = st.builds(Tile, st.sampled_from([ENTRIES, *range(64)]), st.integers(0, MAX_SIZE), st.integers(1, 256))


@given(TILES)
def test_a_name_is_read_back(tile):
    assert parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "name",
    [
        "tile/64/000", "tile/00/000", "tile/01/000", "tile/-1/000", "tile/0/00", "tile/0/0000", "tile/0/x000/001",
        "tile/0/001/002", "tile/0/x001", "tile/0/x001/x002", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/0/000.p/", "tile/0/000.p", "tile/data/000", "/tile/0/000", "tile/0/../000", "tile/0/000\n", "tile/0/٠٠٠",
        "tile/0/" + "x999/" * 9 + "999", "tile/0/x009/x223/x372/x036/x854/x775/808",
    ],
)  # fmt: skip
def test_no_other_name_is_read(name):
    with pytest.raises(NoteError, match="name of a tile"):
        parse_path(name)


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification():
    tiles = [tile for tile in tiles_of(70_000) if tile.level != ENTRIES]
    assert [sum(tile.level == level and tile.width == 256 for tile in tiles) for level in range(3)] == [
        273,
        1,
        0,
    ]
    assert [tile for tile in tiles if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile.index for tile in tiles_of(70_000) if tile.level == ENTRIES] == list(range(274))


def test_a_tree_of_256_leaves_has_a_full_tile_and_one_of_width_1_above():
    assert list(tiles_of(256)) == [Tile(ENTRIES, 0), Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == []


@given(st.integers(0, 1 << 40), st.integers(0, 4))
def test_widths_add_up_to_the_hashes_of_a_level(size, level):
    count = size >> 8 * level
    last = count // 256
    assert width_at(level, last, size) == count % 256
    assert width_at(level, last + 1, size) == 0
    assert not last or width_at(level, last - 1, size) == 256


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=40))
def test_a_bundle_is_read_back(entries):
    assert unpack_entries(pack_entries(entries), Tile(ENTRIES, 0, len(entries))) == entries


def test_an_entry_of_65535_bytes_fits_and_a_longer_one_does_not():
    most = bytes(65_535)
    assert unpack_entries(pack_entries([most]), Tile(ENTRIES, 0, 1)) == [most]
    with pytest.raises(EntryError, match="65536 bytes, 65535 is the most"):
        pack_entries([bytes(65_536)])


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b + b"\0\0", lambda _: b""]
)
def test_a_bundle_that_is_cut_or_goes_on_is_damage(change):
    with pytest.raises(DamageError):
        unpack_entries(change(pack_entries([b"a", b"bc"])), Tile(ENTRIES, 0, 2))


@pytest.mark.parametrize("size", [0, 63, 65, 96])
def test_a_tile_of_another_width_than_its_name_is_damage(size):
    assert unpack_hashes(bytes(64), Tile(0, 0, 2)) == [bytes(32)] * 2
    with pytest.raises(DamageError, match=f"it has {size} bytes, not 64"):
        unpack_hashes(bytes(size), Tile(0, 0, 2))


def tree_of(entries):
    """Tiles cut from lists of hashes, level by level."""
    rows = [[leaf_hash(entry) for entry in entries]]
    while len(rows[-1]) >= 256:
        count = len(rows[-1]) // 256
        step = 256 ** len(rows)
        rows.append([oracle_root(entries[at * step : (at + 1) * step]) for at in range(count)])
    return TiledTree(lambda tile: rows[tile.level][tile.index * 256 :][: tile.width], len(entries))


@given(st.data())
def test_hashes_and_proofs_out_of_tiles_are_what_the_formulas_say(data):
    size = data.draw(st.sampled_from([1, 2, 255, 256, 257, 511, 512, 700]))
    entries = entries_of(size)
    tree = tree_of(entries)
    some = data.draw(st.integers(1, size))
    index, first = data.draw(st.integers(0, some - 1)), data.draw(st.integers(1, some))
    assert tree.root(some) == oracle_root(entries[:some])
    assert list(tree.inclusion(index, some)) == oracle_path(index, entries[:some])
    assert list(tree.consistency(first, some)) == oracle_proof(first, entries[:some])


def test_a_tree_larger_than_the_tiles_has_no_hashes():
    tree = tree_of(entries_of(3))
    for ask in (
        lambda: tree.root(4),
        lambda: tree.inclusion(0, 4),
        lambda: tree.consistency(1, 4),
        lambda: tree.root(-1),
    ):
        with pytest.raises(RangeError):
            ask()
