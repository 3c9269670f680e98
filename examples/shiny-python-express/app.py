from shiny import reactive
from shiny.express import input, render, ui

ui.page_opts(title="Temperature", fillable=False)

with ui.sidebar():
    ui.input_slider("celsius", "Degrees Celsius", min=-40, max=100, value=20)
    ui.input_action_button("remember", "Remember")

with ui.value_box():
    "The same in Fahrenheit"

    @render.text
    def fahrenheit():
        return f"{input.celsius()} °C are {input.celsius() * 9 / 5 + 32:g} °F"


remembered = reactive.value([])


@reactive.effect
@reactive.event(input.remember)
def _():
    remembered.set([*remembered(), input.celsius()])


with ui.card():
    ui.card_header("Remembered in this session")

    @render.ui
    def notes():
        return ui.tags.ul([ui.tags.li(f"{celsius} °C") for celsius in remembered()])
