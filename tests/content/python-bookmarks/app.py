"""Saves bookmarks on the server: inputs, an uploaded file, a value and a file of its own."""

from pathlib import Path

from shiny import App, reactive, render, req, ui


def page(request):
    return ui.page_fluid(
        ui.input_numeric("n", "n", 1),
        ui.input_file("file", "file"),
        ui.input_bookmark_button(id="save"),
        ui.output_text("url"),
        ui.output_text("restored"),
        ui.output_text("uploaded"),
    )


def server(input, output, session):
    link = reactive.value("")
    found = reactive.value("")
    session.bookmark.exclude.append("save")

    @reactive.effect
    @reactive.event(input.save)
    async def _():
        await session.bookmark()

    @session.bookmark.on_bookmark
    async def _(state):
        state.values["squared"] = input.n() ** 2
        (state.dir / "note.txt").write_text(f"a note about {input.n()}")

    @session.bookmark.on_bookmarked
    async def _(url):
        link.set("?" + url.partition("?")[2])

    @session.bookmark.on_restore
    def _(state):
        if state.dir:
            note = (state.dir / "note.txt").read_text()
            found.set(f"{state.input['n']}, {state.values['squared']}, {note}")

    @render.text
    def url():
        return link()

    @render.text
    def restored():
        return found()

    @render.text
    def uploaded():
        return Path(req(input.file())[0]["datapath"]).read_text()


app = App(page, server, bookmark_store="server")
