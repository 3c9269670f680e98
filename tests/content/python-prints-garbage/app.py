import sys

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


app = App(page, server)
out = sys.stdout.buffer
out.write(b"\xff\xfe\x00\x00\xc3(\x1b[\n")
for _ in range(100):
    out.write(b"x" * 1_000_000)
out.write(b"\nafter the garbage\n")
out.flush()
