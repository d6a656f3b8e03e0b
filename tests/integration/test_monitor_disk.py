"""The disk budget against a naive account: what a file grows by is charged, however it is written to.

Refusals at the budget's end are in `test_monitor_limits.py`; here the budget is never met.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.guests import Script
from tests.integration.test_monitor_denials import NAMES, root, run, whole
from tests.machines import storage
from tests.sequences import READ, WRITE

__all__ = ["root"]

APPEND = 1
PLACES = st.integers(0, 300) | st.sampled_from([4_096, 1 << 20])
SIZES = st.integers(0, 60)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), SIZES),
    st.tuples(st.just("pwrite"), st.integers(0, 1), PLACES, SIZES),
    st.tuples(st.just("seek"), st.integers(0, 2), PLACES),
    st.tuples(st.just("size"), st.integers(0, 1), PLACES),
)


@dataclass(slots=True)
class Account:
    """One file, open three times, the third time to append: what it should cost to write to it."""

    size: int
    charged: int = 0
    at: list[int] = field(default_factory=lambda: [0, 0, 0])

    def write(self, start: int, count: int) -> None:
        if count:
            self.charged += count + max(0, start - self.size)
            self.size = max(self.size, start + count)

    def step(self, name: str, which: int, *values: int) -> None:
        match name:
            case "write" if which == 2:
                self.write(self.size, values[0])
            case "write":
                self.write(self.at[which], values[0])
                self.at[which] += values[0]
            case "pwrite":
                self.write(*values)
            case "seek":
                self.at[which] = values[0]
            case _:  # a size
                self.charged += max(0, values[0] - self.size)
                self.size = values[0]


def played(folder, steps, account: Account):
    (folder / "old").write_bytes(b"o" * account.size)

    def build(s: Script) -> None:
        fds = [s.open("old", rights=READ | WRITE, fdflags=flags) for flags in (0, 0, APPEND)]
        for name, which, *values in steps:
            account.step(name, which, *values)
            match name:
                case "write":
                    s.write(fds[which], b"x" * values[0])
                case "pwrite":
                    s.pwrite(fds[which], b"x" * values[1], values[0])
                case "seek":
                    s.call("fd_seek", fds[which], values[0], 0, s.out(8))
                case _:
                    s.call("fd_filestat_set_size", fds[which], values[0])

    result = run(storage(folder, whole(folder, *NAMES)), build)
    assert set(result.errnos) == {0}
    assert (folder / "old").stat().st_size == account.size
    return result.header["disk"]


CHECKED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@CHECKED
@given(steps=st.lists(STEPS, max_size=12), there=st.sampled_from([0, 100]))
def test_what_a_file_grows_by_is_charged_and_what_is_written_over(root, steps, there):
    grown, before = [], Account(there)
    for step in steps:  # a file that is never cut has one naive price
        if step[0] != "size" or step[2] >= before.size:
            grown.append(step)
            before.step(*step)
    account = Account(there)
    assert played(root, grown, account) == account.charged == before.charged


@CHECKED
@given(steps=st.lists(STEPS, max_size=12), there=st.sampled_from([0, 100]))
def test_a_file_that_is_cut_in_between_is_never_larger_than_what_was_there_and_what_was_charged(
    root, steps, there
):
    account = Account(there)
    charged = played(root, steps, account)
    assert account.size <= charged + there
