"""Writes into the content's state when a session ends and when its process is asked to end."""

import os

from shiny import App, render, ui


def say(text):
    with open(os.path.join(os.environ["SUPERVISOR_STATE"], "said"), "a") as file:
        print(text, file=file)


def server(input, output, session):
    session.on_ended(lambda: say("session"))

    @render.text
    def value():
        return str(input.n())


app = App(ui.page_fluid(ui.output_text("value")), server)
app.on_shutdown(lambda: say("process"))
