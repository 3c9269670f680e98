from shiny import App, ui


def connect(where):
    raise RuntimeError(f"no database at {where}")


connect("db.example")
app = App(ui.page_fluid(), None)
