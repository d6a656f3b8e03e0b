"""A skip without a listed reason fails, and golden files are written only when asked."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = (Path(__file__).resolve().parents[1] / "conftest.py").read_text(encoding="utf-8")


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project, *arguments):
    return project.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


@pytest.mark.parametrize(
    "skip", ["pytest.skip('no reason')", "pytest.importorskip('no_such_module')", "pytest.skip('needs')"]
)
def test_a_skip_nobody_listed_fails(project, skip):
    project.makepyfile(f"import pytest\ndef test_x():\n    {skip}")
    run(project).assert_outcomes(failed=1)


def test_a_listed_skip_passes(project):
    project.makepyfile("import pytest\ndef test_x():\n    pytest.skip('needs Linux')")
    run(project).assert_outcomes(skipped=1)


def test_an_unlisted_mark_fails_and_a_listed_one_passes(project):
    project.makepyfile("""
        import pytest
        @pytest.mark.skip(reason="later")
        def test_x(): ...
        @pytest.mark.skipif(True, reason="needs Linux")
        def test_y(): ...
    """)
    run(project).assert_outcomes(errors=1, skipped=1)


def test_a_whole_module_cannot_be_skipped_unlisted(project):
    project.makepyfile("import pytest\npytest.skip('later', allow_module_level=True)")
    assert run(project).ret != 0


def test_an_expected_failure_is_no_skip(project):
    project.makepyfile("import pytest\n@pytest.mark.xfail(reason='known')\ndef test_x(): assert False")
    run(project).assert_outcomes(xfailed=1)


def test_a_golden_file_is_written_when_accepted_and_compared_afterwards(project):
    project.makepyfile("def test_x(golden): golden('a/b.txt', 'line\\r\\n')")
    run(project).assert_outcomes(failed=1)
    run(project, "--accept-golden").assert_outcomes(passed=1)
    assert (project.path / "golden/a/b.txt").read_bytes() == b"line\r\n"
    run(project).assert_outcomes(passed=1)
    project.makepyfile("def test_x(golden): golden('a/b.txt', 'line\\n')")
    run(project).assert_outcomes(failed=1)
