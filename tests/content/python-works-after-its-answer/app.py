from shiny import App, ui

shiny_app = App(ui.page_fluid("An API; /NUMBER says that it works on for so many seconds."), None)


async def app(scope, receive, send):
    """Answer 202 at once; `/NUMBER` declares work of so many seconds, any other path none."""
    if scope["type"] != "http" or scope["path"] == "/":
        await shiny_app(scope, receive, send)
        return
    what = scope["path"].strip("/")
    declared = [(b"supervisor-busy", what.encode())] if what.isdecimal() else []
    headers = [(b"content-length", b"0"), *declared]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
