"""What a gateway is told of an answer: plain values, no longer than a packet can hold."""

from __future__ import annotations

from typing import Any

import trio

from supervisor.core.scheduling.crew import Crew
from supervisor.core.scheduling.elsewhere import Elsewhere
from supervisor.core.scheduling.verdict import Answer, Verdict

LINES, LINE, TEXT = 20, 200, 500  # of a failure's answer: a packet has 64 KiB, a character up to 12


def describe_away(elsewhere: Elsewhere) -> dict[str, Any]:
    """Give the fields of an `answer` message about a content that another node has."""
    title = (elsewhere.content.title or elsewhere.content.name)[:TEXT]
    return {
        "as": "unavailable",
        "title": title,
        "reason": f"{title}: {elsewhere.where}",
        "retry": 5,
    }


def describe(crew: Crew, answer: Answer) -> dict[str, Any]:
    """Give the fields of an `answer` message."""
    title = (crew.content.title or crew.content.name)[:TEXT]
    match answer.verdict:
        case Verdict.WORKER:
            assert answer.worker is not None
            return {"as": "worker", "run": answer.worker.id}
        case Verdict.STARTING:
            return {"as": "starting", "title": title}
        case Verdict.QUEUED:
            return {"as": "queued", "title": title, "position": answer.position}
        case Verdict.FULL:
            return {"as": "full", "title": title}
        case Verdict.STOPPED:
            return {"as": "stopped", "title": title}
        case Verdict.EMPTY:
            return {
                "as": "failed",
                "title": title,
                "code": "no-app-found",
                "reason": "nothing has been deployed yet",
                "lines": [],
                "retry": 60,
            }
    failure = answer.failure
    assert failure is not None
    retry = None if failure.retry_at is None else max(1, failure.retry_at - trio.current_time())
    return {
        "as": "failed",
        "title": title,
        "code": failure.code,
        "reason": failure.reason[:TEXT],
        "lines": [line[:LINE] for line in failure.lines[-LINES:]],
        "retry": retry,
    }
