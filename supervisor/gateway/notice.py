"""The notice in a content's pages that their session is about to end; sans-IO."""

from __future__ import annotations

import json
from pathlib import Path

from supervisor.gateway.answers import Answer
from supervisor.gateway.head import Request, Response
from supervisor.gateway.route import is_navigation
from supervisor.gateway.sessions import Worker

_SCRIPT = Path(__file__).with_name("notice.js").read_bytes()
_SCRIPT_FRESH = 3600  # seconds


def is_for(worker: Worker | None, request: Request) -> bool:
    """Say whether the answer may be a page that carries the notice."""
    return worker is not None and worker.notice and is_navigation(request)


def tail(worker: Worker | None, request: Request, response: Response, base: bytes) -> bytes:
    """Give what is to stand after an answer's body: a script in a page that a person opened.

    Nothing else is touched: not what programs and scripts ask for, nor parts of a page, nor bodies
    that are encoded, whose end we could not write.
    """
    if response.status != 200 or not is_for(worker, request) or not _is_plain_html(response):
        return b""
    assert worker is not None
    source = b"%b/__supervisor__/notice.js?run=%b" % (base, worker.run.encode("ascii"))
    return b'<script src="%b" async></script>' % source


def _is_plain_html(response: Response) -> bool:
    kind = b""
    for line in response.kept:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-type":
            kind = value.strip(b" \t").lower()
        elif name == b"content-encoding":
            return False
    return kind.partition(b";")[0].rstrip(b" \t") == b"text/html" and b"utf-16" not in kind


def script() -> Answer:
    """Give the script that the pages refer to."""
    return Answer(
        status=200,
        body=_SCRIPT,
        kind="text/javascript; charset=utf-8",
        fresh=_SCRIPT_FRESH,
    )


def news(worker: Worker | None, now: float) -> Answer:
    """Tell a page how its run stands; ends: seconds until its sessions are ended at the latest."""
    facts: dict[str, object] = {"gone": True}
    if worker is not None:
        ends = None if worker.ends is None else max(0, round(worker.ends - now))
        facts = {"draining": worker.draining, "ends": ends}
    return Answer(status=200, body=json.dumps(facts).encode("ascii"), kind="application/json")
