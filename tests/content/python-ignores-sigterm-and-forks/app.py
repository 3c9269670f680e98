import os
import signal
import subprocess

from shiny import App, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 1, 9, 1), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return str(2 * input.n())


app = App(page, server)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def hide():
    """A session of its own, nohup, a double fork: all deaf to SIGTERM, as this process is."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen(["sleep", "271828"], start_new_session=True, **quiet)
    subprocess.Popen(["nohup", "sleep", "271828"], **quiet)
    subprocess.Popen(["sh", "-c", "sleep 271828 & exit 0"], **quiet)
    if os.fork() == 0:
        os.execlp("sleep", "sleep", "271828")


shiny_app = app


async def app(scope, receive, send):
    if scope["type"] == "lifespan":  # uvicorn has set its own signal handlers by now
        hide()
    await shiny_app(scope, receive, send)
