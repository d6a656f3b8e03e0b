"""Rows are cut so that the text of a piece is bounded, and none is lost."""

from __future__ import annotations

import pytest

from audit.columns import SCHEMA, Decision, Stage
from audit.export import rows
from tests.export_rows import row, table


def test_pieces_with_much_text_are_halved_until_they_fit(monkeypatch):
    monkeypatch.setattr(rows, "_PIECE_TEXT", 1000)
    given = [row(seq=seq, target="x" * 90) for seq in range(64)]
    found = list(rows.pieces(iter([table(given)])))
    assert [each for piece in found for each in piece.to_pylist()] == given
    assert max(piece.num_rows for piece in found) < 16


def test_a_row_that_is_too_wide_alone_is_a_piece(monkeypatch):
    monkeypatch.setattr(rows, "_PIECE_TEXT", 10)
    assert [piece.num_rows for piece in rows.pieces(iter([table([row(), row()])]))] == [1, 1]


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("stage", Stage)
def test_refusals_and_traps_are_kept(decision, stage):
    kept = rows.refused(table([row(decision=int(decision), stage=int(stage))])).num_rows
    assert kept == (decision in {Decision.DENY, Decision.OBSERVE, Decision.LIMIT} or stage is Stage.TRAP)


def test_a_batch_that_misses_a_column_is_refused():
    with pytest.raises(KeyError):
        rows.conformed(table([row()]).select(SCHEMA.names[:-1]))
