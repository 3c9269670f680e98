"""The generated parts of docs/reference/testing.md: public names, and what each test promises."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

from supervisor import testing
from supervisor.testing import fixtures
from supervisor.testing.executor import CoreFlows, Flows, Invariants, Scenarios, Stopping

TIERS = {
    "Invariants": (Invariants, Stopping),
    "Scenarios": (Scenarios,),
    "Flows": (Flows, CoreFlows),
}
_NEEDS = re.compile(r"self\.needs\(\s*[\w()]+,\s*([^)]*)\)")


def names() -> str:
    """Give a table of all that supervisor.testing exports."""
    rows = []
    for name in testing.__all__:
        value = getattr(testing, name)
        about = value.__doc__ if not _is_alias(value) else _ALIASES[name]
        rows.append(f"| `{name}` | {_first(about)} |")
    return "\n".join(["| name | |", "|---|---|", *rows])


_ALIASES = {
    "Alive": "The type of the fixture `alive`: run id → how many processes the backend has of it.",
    "NewExecutor": "The type of the fixture `new_executor`: nothing → an executor.",
}


def _is_alias(value: object) -> bool:
    return not (inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value))


def given() -> str:
    """Give a table of the fixtures."""
    rows = []
    for name, value in vars(fixtures).items():
        wrapped = getattr(value, "__wrapped__", None) or getattr(value, "_fixture_function", None)
        if wrapped is not None and not name.startswith("pytest_"):
            rows.append(f"| `{name}` | {_first(inspect.getdoc(wrapped))} |")
    return "\n".join(["| fixture | |", "|---|---|", *rows])


def executor() -> str:
    """Give the tests of ExecutorContract by tier."""
    parts = []
    for tier, kinds in TIERS.items():
        rows = [row for kind in kinds for row in _rows(kind)]
        parts.append("\n".join([f"### {tier}", "", "| test | promise | where claimed |", *rows]))
        parts[-1] = parts[-1].replace("claimed |\n", "claimed |\n|---|---|---|\n", 1)
    return "\n\n".join(parts)


def runtime() -> str:
    """Give the tests of RuntimeContract."""
    return _promises(testing.RuntimeContract)


def store() -> str:
    """Give the tests of StoreContract."""
    return _promises(testing.StoreContract)


def _promises(contract: type) -> str:
    rows = [f"| {_words(name)} | {_first(test.__doc__)} |" for name, test in tests(contract)]
    return "\n".join(["| test | promise |", "|---|---|", *rows])


def tests(kind: type) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the tests that a class itself has, in the order of its source."""
    for name, test in vars(kind).items():
        if name.startswith("test_"):
            yield name, test


def _rows(kind: type) -> Iterator[str]:
    for name, test in tests(kind):
        needs = _NEEDS.search(inspect.getsource(test))
        claims = ", ".join(re.findall(r'"([^"]+)"', needs[1])) if needs else ""
        yield f"| {_words(name)} | {_first(test.__doc__)} | {claims} |"


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _first(text: str | None) -> str:
    paragraph = inspect.cleandoc(text or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {
    "testing-names": names,
    "testing-fixtures": given,
    "testing-executor": executor,
    "testing-runtime": runtime,
    "testing-store": store,
}
