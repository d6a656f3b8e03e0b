"""Documents that stand together: what is taken, in which order, and that names are unique."""

from __future__ import annotations

import itertools

import pytest

from policy import PolicyError
from policy.bundle import ALONE, make_bundle
from policy.document import AnyDocument
from tests.documents import baseline, boundary, policy


def test_the_order_of_the_files_does_not_matter():
    documents: list[AnyDocument] = [
        baseline("b"),
        baseline("a"),
        boundary("d"),
        boundary("c"),
        policy(name="e"),
    ]
    for order in itertools.permutations(documents):
        bundle = make_bundle(order)
        assert [each.name for each in bundle.baselines] == ["a", "b"]
        assert [each.name for each in bundle.boundaries] == ["c", "d"]


def test_nothing_is_a_bundle_too():
    assert make_bundle([]) == ALONE
    assert make_bundle([policy()]) == ALONE


@pytest.mark.parametrize("make", [baseline, boundary])
def test_two_of_one_name_are_refused(make):
    with pytest.raises(PolicyError) as caught:
        make_bundle([make("a"), make("b"), make("a", "# another\n")])
    (finding,) = caught.value.findings
    assert (finding.id, finding.field) == ("duplicate-name", "metadata.name")
    assert "a.yaml" in finding.problem


def test_a_baseline_and_a_boundary_may_share_a_name():
    bundle = make_bundle([baseline("a"), boundary("a")])
    assert (len(bundle.baselines), len(bundle.boundaries)) == (1, 1)


def test_a_baseline_is_found_by_its_whole_name():
    bundle = make_bundle([baseline("base/a")])
    assert bundle.baseline("base/a") is bundle.baselines[0]
    assert bundle.baseline("a") is None
