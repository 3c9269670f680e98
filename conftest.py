"""What tests may need of the machine: skipped by name here, an error in CI."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from tests.kube.place import Place
    from tests.support.postgres import Postgres

pytest_plugins = ["supervisor.testing.fixtures"]

CI = os.environ.get("CI", "").lower() in ("1", "true")
ROOT = Path(__file__).parent
CONTENT_PYTHON = ROOT / ".dev" / "python" / "bin" / "python"
STREAMLIT = ROOT / ".dev" / "streamlit"

# In CI a test may be skipped for what no package can give, or a plugin does not promise.
ALLOWED_IN_CI = ("not on this kernel:", "not claimed:")


class Needs:
    """What a test needs. Each method returns where it is there, and skips by name where not."""

    def root(self) -> None:
        """The test starts processes as other users."""
        self._need(os.geteuid() == 0, "needs root")

    def program(self, *names: str) -> str:
        """One of these programs; gives its path."""
        for name in names:
            if path := shutil.which(name):
                return path
        pytest.skip(f"needs the program {' or '.join(names)} (./dev system)")

    def r(self, *packages: str) -> str:
        """R with these packages; gives the path of Rscript."""
        rscript = self.program("Rscript")
        for package in packages:
            self._need(_r_has(rscript, package), f"needs R's package {package} (./dev system)")
        return rscript

    def python(self, *modules: str) -> str:
        """The content Python of `./dev` with these modules; gives the path of its interpreter."""
        there = f"import {', '.join(modules or ('sys',))}"
        self._need(
            CONTENT_PYTHON.exists() and _answers(str(CONTENT_PYTHON), "-c", there),
            f"needs a Python with {', '.join(modules)} in {CONTENT_PYTHON.parent.parent}"
            " (./dev test makes it)",
        )
        return str(CONTENT_PYTHON)

    def streamlit(self) -> Path:
        """A Python environment with Streamlit; gives its directory."""
        python = STREAMLIT / "bin" / "python"
        self._need(python.exists(), f"needs Streamlit in {STREAMLIT} (./dev test makes it)")
        return STREAMLIT

    def debian(self, *packages: str) -> None:
        """These packages of Debian, where no program tells of them."""
        for package in packages:
            self._need(
                _answers("dpkg-query", "-L", package), f"needs Debian's {package} (./dev system)"
            )

    def chromium(self) -> str:
        """A browser; gives its path."""
        self._need(
            importlib.util.find_spec("playwright") is not None, "needs the module playwright"
        )
        return self.program("chromium", "chromium-browser")

    def kube(self) -> None:
        """A Kubernetes can be started here (tests/kube)."""
        from tests.kube import cluster

        why = cluster.missing()
        self._need(not why, why)
        lacking = cluster.host_lacks()
        self.kernel(not lacking, lacking)

    def postgres(self) -> None:
        """A Postgres can be started here (tests/support/postgres.py)."""
        from tests.support.postgres import binaries

        self._need(binaries() is not None, "needs Debian's postgresql (./dev system)")
        self._need(importlib.util.find_spec("psycopg") is not None, "needs the module psycopg")

    def kernel(self, there: bool, what: str) -> None:
        """Something that only another kernel or host could give; skipped in CI too."""
        self._need(there, f"not on this kernel: {what}")

    def _need(self, there: bool, reason: str) -> None:
        if not there:
            pytest.skip(reason)


@cache
def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def _r_has(rscript: str, package: str) -> bool:
    return _answers(rscript, "-e", f'quit(status = !nzchar(system.file(package = "{package}")))')


@pytest.fixture(scope="session")
def needs() -> Needs:
    """Say what the test needs: `needs.root()`, `needs.r("shiny")`, `needs.program("nginx")`."""
    return Needs()


@pytest.fixture(scope="session")
def kube_cluster(needs: Needs) -> Iterator[Place]:
    """A Kubernetes, one for the session; tests take `kube`, to be in its network."""
    needs.kube()
    from tests.kube import cluster
    from tests.kube.place import Place

    place = Place()
    ours = cluster.up(place, with_caller=True)
    yield place
    if ours:
        cluster.down(place)


@pytest.fixture
def kube(kube_cluster: Place) -> Iterator[Place]:
    """A Kubernetes, in whose network the test and the processes that it starts are."""
    with kube_cluster.network():
        yield kube_cluster


@pytest.fixture
def kube_namespace(kube: Place) -> Iterator[str]:
    """A namespace of the test's own, ready for Pods."""
    from tests.kube.place import new_namespace, remove_namespace

    name = new_namespace(kube)
    yield name
    remove_namespace(kube, name)


@pytest.fixture(scope="session")
def kube_python_image(kube_cluster: Place) -> str:
    """An image with the host's Python and the content Python of `./dev`; gives its name."""
    from tests.kube.images import provide

    venv = CONTENT_PYTHON.parent.parent
    return provide(kube_cluster, "python", python=True, add=[venv] if venv.exists() else [])


@pytest.fixture(scope="session")
def kube_r_image(kube_cluster: Place, needs: Needs) -> str:
    """An image with the host's R and its packages; gives its name."""
    needs.r("shiny")
    from tests.kube.images import provide

    return provide(kube_cluster, "r", r=True)


@pytest.fixture(scope="session")
def postgres(needs: Needs) -> Iterator[Postgres]:
    """A Postgres that the session shares: leave it running."""
    needs.postgres()
    from tests.support.postgres import new_postgres

    with new_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """The URL of an empty database of the test's own."""
    return postgres.new_database()


@pytest.fixture
def own_postgres(needs: Needs) -> Iterator[Postgres]:
    """A Postgres of the test's own, to be killed and started again."""
    needs.postgres()
    from tests.support.postgres import new_postgres

    with new_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout."""
    return ROOT


def _is_of_a_cluster(item: pytest.Item) -> bool:
    return any("kube" in name for name in getattr(item, "fixturenames", ()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that need the Kubernetes last: while it is up it takes its share of the machine."""
    items.sort(key=_is_of_a_cluster)


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _refuse_skip(report: Report) -> Report:
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"skipping is not allowed in CI: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped file into a failure in CI."""
    return _refuse_skip((yield))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what would enable the skipped tests."""
    if terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(
            "What was skipped may need Debian packages: `./dev system` prints or installs them."
        )
