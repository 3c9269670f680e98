"""A pytest plugin for plugin authors: `pytest_plugins = ["supervisor.testing.fixtures"]`.

It belongs into the conftest.py at the root of the tests. Async tests run under trio with
`trio_mode = true`; pytest-trio gives `autojump_clock` and `mock_clock`, a time that jumps on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from supervisor.testing.server import RunningServer


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give an empty directory with a short path, that others may enter: sockets fit into it.

    The path of a socket has at most 107 bytes, and that of tmp_path may be longer.
    """
    path = Path(tempfile.mkdtemp(prefix="cs-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server_plugins() -> Sequence[object]:
    """Give the plugins of `running_server`: modules or objects with hooks. Override it."""
    return ()


@pytest.fixture
def server_settings() -> str:
    """Give the text of the configuration file of `running_server`. Override it."""
    return ""


@pytest.fixture
async def running_server(
    short_path: Path, server_plugins: Sequence[object], server_settings: str
) -> AsyncIterator[RunningServer]:
    """Give a running server with `server_plugins` on a DataDir of its own: `deploy`, `visit`, ...

    Its core runs in this process, so it wants real time: no mock clock.
    """
    from supervisor.testing.server import running_server

    async with running_server(short_path, *server_plugins, settings=server_settings) as server:
        yield server


@pytest.hookimpl(wrapper=True, trylast=True)  # inside of those that judge the reason
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
