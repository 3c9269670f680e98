import os
import time

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


app = App(page, server)
time.sleep(float(os.environ.get("SLOW_SECONDS", "5")))
