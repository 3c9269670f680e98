import os
import subprocess

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


app = App(page, server)
size = os.environ.get("FLOOD_BYTES", "1000000000")
subprocess.Popen(["sh", "-c", f"yes a line of the flood | head -c {size}"])
