"""`kill -9` of cells, zygote, sealer, signer and the whole service under load: acknowledged is recovered, and verifies."""

from __future__ import annotations

import random
import shutil

import pytest

from tests.crashing_services import Said, check
from tests.faults import Faults

GATE = pytest.param(range(4), id="gate", marks=pytest.mark.timeout(240))
SLOW = pytest.param(range(1_000, 1_400), id="slow", marks=[pytest.mark.slow, pytest.mark.timeout(7_200)])
LIVES = 20  # of one log, before there is a new one


@pytest.fixture
def forks(tmp_path):
    with Faults(tmp_path).forks("from tests.crashing_services import act as main") as made:
        yield made


@pytest.mark.parametrize("rounds", [GATE, SLOW])
def test_what_a_service_acknowledged_is_there_whatever_was_killed(tmp_path, forks, rounds):
    folder, said, kills, ends = tmp_path / "f", Said(), 0, 0
    for number, seed in enumerate(rounds):
        if number % LIVES == 0:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "work").mkdir(parents=True)
            said = Said()
        life_s = 0.1 + random.Random(seed).random() * 2.5
        done = forks.run("serve", folder, str(seed), kill_after_s=life_s)
        assert done.status == -9, done.text
        said.hear(done.text)
        again = forks.run("restart", folder)
        assert again.status == 0, again.text
        before = sum(said.kills.values()), len(said.ends)
        said.hear(again.text)
        check(folder, said)
        kills, ends = max(kills, before[0]), max(ends, before[1])
    assert kills > 3
    assert ends > 10
