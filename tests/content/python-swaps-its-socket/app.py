import os
import threading

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


app = App(page, server)


def swap():
    path = os.environ["SUPERVISOR_LISTEN"]
    os.remove(path)
    os.symlink(os.environ.get("SWAP_TO", "/tmp/other.sock"), path)


timer = threading.Timer(float(os.environ.get("SWAP_AFTER", "2")), swap)
timer.daemon = True
timer.start()
