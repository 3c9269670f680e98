import json

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


shiny_app = App(page, server)
seen = []
PIECE = b"0123456789abcdef" * 4096


async def app(scope, receive, send):
    """Remember every request; `seen` lists them, `big` sends 64 MB, other paths tell the body."""
    if scope["type"] != "http" or scope["path"] == "/":
        await shiny_app(scope, receive, send)
        return
    what = scope["path"].strip("/")
    if what == "seen":
        answer = json.dumps(seen).encode()
    else:
        seen.append(f"{scope['method']} {scope['path']}")
        answer = str(await length(receive)).encode()
    pieces = [PIECE] * 1024 if what == "big" else [answer]
    size = str(sum(map(len, pieces))).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", size)],
        }
    )
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def length(receive):
    """Read the body; give its bytes, or -1 where the client left before its end."""
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return -1
        total += len(message.get("body", b""))
        if not message.get("more_body"):
            return total
