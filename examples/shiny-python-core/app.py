from shiny import App, reactive, render, ui

app_ui = ui.page_sidebar(
    ui.sidebar(ui.input_slider("n", "Terms", min=2, max=30, value=12)),
    ui.value_box("Sum of the terms", ui.output_text("total")),
    ui.card(ui.card_header("Fibonacci"), ui.output_ui("bars")),
    title="Fibonacci, one bar a term",
)


def server(input, output, session):
    @reactive.calc
    def terms():
        numbers = [1, 1]
        while len(numbers) < input.n():
            numbers.append(numbers[-1] + numbers[-2])
        return numbers

    @render.text
    def total():
        return f"{sum(terms()):,}"

    @render.ui
    def bars():
        largest = terms()[-1]
        return ui.div(
            [
                ui.div(
                    f"{number:,}",
                    style=f"width: {max(100 * number / largest, 4):.1f}%; margin: 3px 0; "
                    "padding-left: 6px; color: white; background: #447099; white-space: nowrap",
                )
                for number in terms()
            ]
        )


app = App(app_ui, server)
