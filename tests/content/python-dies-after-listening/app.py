import os
import threading

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


app = App(page, server)
timer = threading.Timer(float(os.environ.get("DIE_AFTER", "1")), os._exit, [3])
timer.daemon = True
timer.start()
