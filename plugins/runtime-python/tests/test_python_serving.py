"""Real Shiny for Python serves real apps from the plan."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_python.installations import probe
from supervisor_python.runtime import PythonRuntime

from supervisor import Purpose
from tests.support.serving import (
    Served,
    plan_for,
    pulse_stops_while_it_computes,
    served,
)

pytestmark = pytest.mark.system

# example, entrypoint: output, first inputs, its value, update, its value then
SERVED: dict[tuple[str, str], tuple[str, dict[str, Any], str, dict[str, Any], str]] = {
    ("shiny-python-core", "app"): ("total", {"n": 12}, "376", {"n": 30}, "2,178,308"),
    ("shiny-python-core", "app:app"): ("total", {"n": 12}, "376", {"n": 3}, "4"),
    ("shiny-python-core", "app.py"): ("total", {"n": 12}, "376", {"n": 3}, "4"),
    **{
        ("shiny-python-express", entrypoint): (
            "fahrenheit",
            {"celsius": 20},
            "20 °C are 68 °F",
            {"celsius": -40},
            "-40 °C are -40 °F",
        )
        for entrypoint in ("app", "app:app", "app.py", "shiny.express.app:app_2e_py")
    },
}


class Apps:
    """Serves apps with the content Python of the checkout."""

    def __init__(self, checkout: Path, python: str) -> None:
        self.checkout = checkout
        self.python = python

    def serve(
        self,
        source: str | Path,
        environment: Mapping[str, str] | None = None,
        *,
        entrypoint: str = "app",
    ) -> Any:
        installation = probe(self.python)
        assert installation is not None
        plan = plan_for(PythonRuntime(), installation, entrypoint=entrypoint, purpose=Purpose.SERVE)
        return served(plan, self.checkout / source, environment)


@pytest.fixture
def apps(needs: Any, checkout: Path) -> Apps:
    return Apps(checkout, needs.python("shiny"))


async def ended(app: Served, seconds: float = 30.0) -> int:
    with trio.fail_after(seconds):
        return await app.process.wait()


DRAWS = """
import sys

from shiny import App, reactive, render, ui


def page(request):
    print("drawn", file=sys.stderr)
    return ui.page_fluid(ui.input_action_button("go", "go"), ui.output_text("value"))


def server(input, output, session):
    @render.text
    def value():
        return "here"

    @reactive.effect
    @reactive.event(input.long)
    def compute():
        while True:
            pass


app = App(page, server)
"""


@pytest.mark.parametrize("example", SERVED, ids=" ".join)
async def test_an_example_answers_with_its_page_and_its_values(
    apps: Apps, example: tuple[str, str]
) -> None:
    folder, entrypoint = example
    output, inputs, value, update, updated = SERVED[example]
    async with apps.serve(f"examples/{folder}", entrypoint=entrypoint) as app:
        await app.listening()
        page = await app.visitor.get()
        assert (200, True) == (page.status, b"shiny" in page.body)
        async with app.visitor.session([output], inputs) as session:
            assert value == await session.value(output)
            await session.update(**update)
            assert updated == await session.value(output)
        assert 0o660 == app.socket.stat().st_mode & 0o777


async def test_its_pulse_draws_no_page_and_stops_while_it_computes(
    apps: Apps, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(DRAWS)
    async with apps.serve(tmp_path) as app:
        await pulse_stops_while_it_computes(app)


async def test_files_of_www_are_served_to_express_apps(apps: Apps, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from shiny.express import ui\nui.h1('hello')\n")
    (tmp_path / "www").mkdir()
    (tmp_path / "www/style.css").write_text("h1 { color: red }")
    async with apps.serve(tmp_path) as app:
        await app.listening()
        assert b"h1 { color: red }" == (await app.visitor.get("style.css")).body


async def test_an_app_may_import_the_modules_beside_it(apps: Apps, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("text = 'from the helper'\n")
    (tmp_path / "main.py").write_text(
        "from shiny import App, ui\nfrom helper import text\nsite = App(ui.h1(text), None)\n"
    )
    async with apps.serve(tmp_path, entrypoint="main:site") as app:
        await app.listening()
        assert b"from the helper" in (await app.visitor.get()).body


async def test_the_gateways_word_about_the_visitor_is_believed(apps: Apps, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        "async def page(request):\n"
        "    return PlainTextResponse(f'{request.url.scheme} {request.client.host}')\n"
        "app = Starlette(routes=[Route('/', page)])\n"
    )
    async with apps.serve(tmp_path) as app:
        await app.listening()
        visitor = app.visitor
        visitor.headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        assert b"https 192.0.2.7" == (await visitor.get()).body


async def test_an_app_that_throws_at_start_says_why_and_where(apps: Apps) -> None:
    async with apps.serve("tests/content/python-throws-at-start") as app:
        assert 1 == await ended(app)
        lines = app.log.splitlines()
        assert "Traceback (most recent call last):" == lines[0]
        assert 'app.py", line 8, in <module>' in lines[1]
        assert (
            "content-supervisor: the app failed at start: RuntimeError: no database at db.example"
            == app.log.splitlines()[-1]
        )


@pytest.mark.parametrize(
    ("source", "entrypoint", "reason"),
    [
        ("x = 1\n", "app", "app.py defines no 'app'"),
        ("app = 1\n", "app", "'app' in app.py is not an app but a int"),
        ("app = (\n", "app", "the app failed at start: SyntaxError: "),
        ("x = 1\n", "other", "the app failed at start: ModuleNotFoundError: No module named"),
        ("x = 1\n", "shiny.express.app:o_2e_py", "the bundle holds no o.py"),
        ("raise SystemExit('not today')\n", "app", "the app ended itself at start: not today"),
    ],
)
async def test_the_last_line_names_what_is_wrong(
    apps: Apps, tmp_path: Path, source: str, entrypoint: str, reason: str
) -> None:
    (tmp_path / "app.py").write_text(source)
    async with apps.serve(tmp_path, entrypoint=entrypoint) as app:
        assert 1 == await ended(app)
        assert app.log.splitlines()[-1].startswith(f"content-supervisor: {reason}")


async def test_without_shiny_the_last_line_says_so(apps: Apps) -> None:
    apps.python = "/usr/bin/python3"
    async with apps.serve("examples/shiny-python-core") as app:
        assert 1 == await ended(app)
        assert app.log.splitlines()[-1].startswith(
            "content-supervisor: the package 'shiny' cannot be used by Python 3."
        )


BOOKMARKS = """
from pathlib import Path
from shiny import App, reactive, render, ui
def page(request): return ui.page_fluid(ui.output_text("value"))
def server(input, output, session):
    url = reactive.value()
    session.bookmark.on_bookmarked(url.set)
    @reactive.effect
    @reactive.event(input.n)
    async def _(): await session.bookmark()
    @render.text
    def value(): return url()
app = App(page, server, bookmark_store="server")
"""


async def bookmarked(app: Served) -> str:
    """Give the id of a new bookmark."""
    async with app.visitor.session(["value"], {"n": 1}) as session:
        state = ""
        while not state:  # an empty value may come first
            state = (await session.value("value") or "").partition("_state_id_=")[2]
    return state


async def test_bookmarks_lie_in_the_state_of_the_content(apps: Apps, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BOOKMARKS)
    async with apps.serve(tmp_path) as app:
        await app.listening()
        state = await bookmarked(app)
        assert [state] == [path.name for path in (app.root / "state/shiny_bookmarks").iterdir()]


async def test_where_an_app_itself_keeps_its_bookmarks_is_honoured(
    apps: Apps, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    own = "app.set_bookmark_save_dir_fn(lambda id: Path('mine'))\n"
    (tmp_path / "app.py").write_text(BOOKMARKS + own)
    async with apps.serve(tmp_path) as app:
        await app.listening()
        await bookmarked(app)
        assert ["input.json"] == [path.name for path in (app.root / "app/mine").iterdir()]
        assert [] == list((app.root / "state").iterdir())


async def test_the_signal_of_its_plan_ends_it_with_its_callbacks(
    apps: Apps, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        "from shiny import App, render, ui\n"
        "def say(text):\n"
        "    with open('said', 'a') as file: print(text, file=file)\n"
        "def server(input, output, session):\n"
        "    session.on_ended(lambda: say('session'))\n"
        "    @render.text\n"
        "    def value(): return 'here'\n"
        "app = App(ui.page_fluid(ui.output_text('value')), server)\n"
        "app.on_shutdown(lambda: say('app'))\n"
    )
    async with apps.serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"]) as session:
            await session.value("value")
            app.process.send_signal(signal.SIGTERM)
            assert -signal.SIGTERM == await ended(app, 4.0)
        assert ["session", "app"] == (app.root / "app/said").read_text().split()


async def test_sigterm_ends_it_soon_with_sessions_open(apps: Apps) -> None:
    async with apps.serve("examples/shiny-python-core") as app:
        await app.listening()
        async with (
            app.visitor.session(["total"], {"n": 5}) as one,
            app.visitor.session(["total"], {"n": 6}) as two,
        ):
            await one.value("total")
            await two.value("total")
            app.process.send_signal(signal.SIGTERM)
            assert -signal.SIGTERM == await ended(app, 4.0)
            assert (1012, 1012) == (await one.closed(), await two.closed())
        assert "Traceback" not in app.log
