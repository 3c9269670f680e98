import time

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 0, 60, 0), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        end = time.monotonic() + input.n()  # computes for n seconds and answers nobody meanwhile
        while time.monotonic() < end:
            sum(range(10_000))
        return str(2 * input.n())


app = App(page, server)
