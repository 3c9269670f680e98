import secrets
import time

from shiny import App, reactive, render, ui

page = ui.page_fluid(ui.input_slider("n", "n", 0, 60, 0), ui.output_text("value"))

# Tells: which process this is, the how many-th session of it, how often this session was computed,
# how many sessions the process has now and had at most, and n. Computes for `busy` seconds.
process = secrets.token_hex(6)
sessions = now = most = 0


def server(input, output, session):
    global sessions, now, most
    sessions += 1
    now += 1
    most = max(most, now)
    mine, computed = sessions, 0

    @session.on_ended
    def ended():
        global now
        now -= 1

    @reactive.effect
    @reactive.event(input.busy)
    def compute():
        end = time.monotonic() + input.busy()
        while time.monotonic() < end:
            sum(range(10_000))

    @render.text
    def value():
        nonlocal computed
        computed += 1
        return f"{process} {mine} {computed} {now} {most} {input.n()}"


app = App(page, server)
