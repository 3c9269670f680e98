"""Print a table of suites from pytest's JUnit file: ran, skipped, failed."""

import sys
from collections import Counter, defaultdict
from pathlib import Path
from xml.etree import ElementTree


def suite(classname: str) -> str:
    """`tests.unit.test_x` → tests/unit; `plugins.runtime-r.tests.test_y` → plugins/runtime-r."""
    return "/".join(classname.split(".")[:2])


def outcome(case: ElementTree.Element) -> str:
    """Give what became of one test."""
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "ran"


def main(file: str) -> int:
    """Print the table; 1 where there is none to print."""
    if not Path(file).exists():
        print("no results: the tests did not get to their end")
        return 1
    suites: dict[str, Counter[str]] = defaultdict(Counter)
    for case in ElementTree.parse(file).iter("testcase"):
        name = case.get("classname") or case.get("name") or "?"
        suites[suite(name)][outcome(case)] += 1
        suites["all"][outcome(case)] += 1
    print(f"{'suite':32} {'ran':>6} {'skipped':>8} {'failed':>7}")
    for name in sorted(suites, key=lambda name: (name == "all", name)):
        count = suites[name]
        ran = count["ran"] + count["failed"]
        print(f"{name:32} {ran:6} {count['skipped']:8} {count['failed']:7}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
