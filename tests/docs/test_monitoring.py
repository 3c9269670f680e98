"""The example alerts and the dashboard name nothing that does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]

from supervisor.core.figures import Figures
from supervisor.exposition import Histogram

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "monitoring"
FAMILIES = {family.name: family for family in Figures().families}

_NAME = re.compile(r"\b(?:supervisor_\w+|up)\b")
_SELECTOR = re.compile(r"(supervisor_\w+)\s*\{([^}]*)\}")
_LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((EXAMPLES / "alerts.yml").read_text())["groups"]:
        yield from group["rules"]


def panels() -> Iterator[tuple[str, str, str]]:
    for panel in json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


def samples(name: str) -> set[str]:
    """The names of the samples of a family."""
    if isinstance(FAMILIES[name], Histogram):
        return {f"{name}_{end}" for end in ("bucket", "sum", "count")}
    return {name}


SAMPLES = {sample: name for name in FAMILIES for sample in samples(name)}


def check(expr: str) -> None:
    """It is PromQL, and every sample exists, with the labels that are asked for."""
    promql_parser.parse(re.sub(r"\$__(?:rate_)?interval\b", "5m", expr))
    for name in _NAME.findall(expr):
        assert name == "up" or name in SAMPLES, f"{name} is no sample of ours"
    labels = {"le", "job", "instance"}
    for name in _NAME.findall(expr):
        labels |= set(FAMILIES[SAMPLES[name]].labels) if name != "up" else set()
    for name, inner in _SELECTOR.findall(expr):
        for label in _LABEL.findall(inner):
            assert label in FAMILIES[SAMPLES[name]].labels, f"{name} has no label {label}"
    for group in _GROUPING.findall(expr):
        for label in filter(None, re.split(r"[,\s]+", group)):
            assert label in labels, f"nothing in {expr!r} has a label {label}"
    for counter in re.findall(r"\b(supervisor_\w+_total)\b(?![^)]*\[)", expr):
        raise AssertionError(f"{counter} is a counter: ask for its rate or increase")


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_figures_that_exist_and_says_what_is_wrong(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize(("title", "expr", "legend"), list(panels()))
def test_a_panel_shows_figures_that_exist(title: str, expr: str, legend: str) -> None:
    check(expr)
    labels = {label for name in _NAME.findall(expr) for label in FAMILIES[SAMPLES[name]].labels}
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels, title


def test_every_figure_that_needs_a_person_has_an_alert() -> None:
    asked = {SAMPLES.get(name) for rule in rules() for name in _NAME.findall(rule["expr"])}
    assert {
        "supervisor_process_starts_total",
        "supervisor_store_failures_total",
        "supervisor_visitors_waiting_oldest_seconds",
        "supervisor_runs_ended_total",
        "supervisor_executor_away",
        "supervisor_log_lines_dropped_total",
    } <= asked


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= mine


def test_the_configuration_asks_our_address_and_reads_our_alerts() -> None:
    configuration = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    assert ["alerts.yml"] == configuration["rule_files"]
    for job in configuration["scrape_configs"]:
        assert job["job_name"]
        assert [target for static in job["static_configs"] for target in static["targets"]]


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_an_alert_has_the_fields_that_prometheus_knows(rule: dict[str, Any]) -> None:
    assert {"alert", "expr", "labels", "annotations"} <= set(rule)
    assert set(rule) <= {"alert", "expr", "labels", "annotations", "for", "keep_firing_for"}
    assert re.fullmatch(r"(\d+[smhdw])+", rule.get("for", "0s"))


@pytest.mark.parametrize(
    "expr",
    [
        "supervisor_no_such_thing > 1",
        "supervisor_runs_ended_total > 1",
        'increase(supervisor_runs_ended_total{colour="red"}[5m])',
        "sum by (colour) (supervisor_contents)",
        "sum by supervisor_contents",
        "supervisor_contents > ",
        "rate(supervisor_runs_ended_total[5m]",
        "rate(supervisor_cold_start_seconds[5m])",
    ],
)
def test_the_check_finds_what_is_wrong(expr: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(expr)
