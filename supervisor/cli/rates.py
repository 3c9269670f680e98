"""Rates: shares of a processor, from two answers of the server's overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

Overview = Mapping[str, Any]  # the answer of /v1/supervisor/overview


def percents(before: Overview | None, now: Overview) -> dict[str, float]:
    """Give run → percent of one processor between two overviews; runs of both, in order of time."""
    if before is None or now["clock"] <= before["clock"]:
        return {}
    seconds = now["clock"] - before["clock"]
    used = {run["id"]: run["cpu"] for run in before["runs"] if run["cpu"] is not None}
    return {
        run["id"]: 100.0 * (run["cpu"] - used[run["id"]]) / seconds
        for run in now["runs"]
        if run["cpu"] is not None and run["id"] in used and run["cpu"] >= used[run["id"]]
    }


def narrowed(overview: Overview, guid: str | None) -> Overview:
    """Give what an overview says of one content; of all where guid is None."""
    if guid is None:
        return overview
    return {
        **overview,
        "contents": [item for item in overview["contents"] if item["guid"] == guid],
        "runs": [run for run in overview["runs"] if run["content"]["guid"] == guid],
    }


def seats(overview: Overview, runs: Iterable[Mapping[str, Any]]) -> int:
    """Give the seats that runs have: all of those that are ready, the taken ones of others."""
    each = {item["guid"]: item["max_conns_per_process"] for item in overview["contents"]}
    return sum(
        each.get(run["content"]["guid"], 0)
        if run["state"] == "ready" and run["purpose"] == "serve"
        else run["sessions"]
        for run in runs
    )


@attrs.frozen(kw_only=True)
class Total:
    """What the processes of one content use together. cpu: percent of one processor, or None."""

    name: str
    title: str
    state: str
    reason: str
    processes: int
    most: int
    sessions: int
    seats: int
    waiting: int
    requests: int
    cpu: float | None
    memory: int | None


def totals(before: Overview | None, now: Overview) -> list[Total]:
    """Sum up the runs of each content; who computes most comes first, then who has most memory."""
    shares = percents(before, now)
    found = []
    for content in now["contents"]:
        runs = [run for run in now["runs"] if run["content"]["guid"] == content["guid"]]
        cpus = [shares[run["id"]] for run in runs if run["id"] in shares]
        memories = [run["memory"] for run in runs if run["memory"] is not None]
        found.append(
            Total(
                name=content["name"],
                title=content["title"],
                state=content["state"],
                reason=content["reason"],
                processes=len(runs),
                most=content["max_processes"],
                sessions=sum(run["sessions"] for run in runs),
                seats=seats(now, runs),
                waiting=content["waiting"],
                requests=sum(run["requests"] for run in runs),
                cpu=sum(cpus) if cpus else None,
                memory=sum(memories) if memories else None,
            )
        )
    # Whole percents: who swaps places at each look for a tenth of one is hard to read.
    return sorted(found, key=lambda t: (-round(t.cpu or 0), -(t.memory or 0), t.name))
