"""Answers every request with a short page and keeps every WebSocket open: the cheapest app."""

import shiny  # noqa: F401  (by this it is recognised)

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
BODY = {"type": "http.response.body", "body": b"<!doctype html><title>cheap</title>"}
ANSWERS = {
    "http.request": (START, BODY),
    "websocket.connect": ({"type": "websocket.accept"},),
    "lifespan.startup": ({"type": "lifespan.startup.complete"},),
    "lifespan.shutdown": ({"type": "lifespan.shutdown.complete"},),
}


async def app(scope, receive, send):
    while True:
        event = (await receive())["type"]
        for answer in ANSWERS.get(event, ()):
            await send(answer)
        if event in ("http.request", "websocket.disconnect", "lifespan.shutdown"):
            return
