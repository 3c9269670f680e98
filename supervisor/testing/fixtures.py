"""A pytest plugin for plugin authors: `pytest_plugins = ["supervisor.testing.fixtures"]`.

It belongs into the conftest.py at the root of the tests. Async tests run under trio with
`trio_mode = true`; pytest-trio gives `autojump_clock` and `mock_clock`, a time that jumps on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give an empty directory with a short path, that others may enter: sockets fit into it.

    The path of a socket has at most 107 bytes, and that of tmp_path may be longer.
    """
    path = Path(tempfile.mkdtemp(prefix="cs-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a skip its reason back where pytest-trio has lost it in a nursery."""
    report = yield
    if report.skipped and call.excinfo is not None and isinstance(report.longrepr, tuple):
        reason = _lost_reason(call.excinfo.value)
        if reason:
            report.longrepr = (*report.longrepr[:2], f"Skipped: {reason}")
    return report


def _lost_reason(skipped: BaseException) -> str:
    group = skipped.__context__
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return str(group) if isinstance(group, pytest.skip.Exception) else ""
