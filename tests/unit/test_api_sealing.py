"""What the operator hears when a log is sealed."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.sealing import seal_left
from audit.writer import AuditWriter
from tests.records import start


def write(root: Path) -> Path:
    writer = AuditWriter(root)
    for number in range(20):
        writer.begin(start(number=number))
    writer.close()
    return writer.path


@pytest.fixture
def told() -> list[str]:
    return []


def test_a_sound_file_is_sealed_without_a_word(tmp_path, told):
    write(tmp_path)
    assert len(seal_left(tmp_path, on_damage=told.append)) == 1
    assert told == []


def test_a_damaged_file_is_told(tmp_path, told):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    seal_left(tmp_path, on_damage=told.append)
    assert [path.name in sentence for sentence in told] == [True]
    assert path.with_suffix(".damaged").exists()


def test_unless_told_otherwise_it_goes_to_standard_error(tmp_path, capsys):
    path = write(tmp_path)

    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    seal_left(tmp_path)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("wasmgate: the log file ")
