"""Real R serves real Shiny apps from the plan."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_r.runtime import RRuntime

from supervisor import Purpose
from tests.support.serving import (
    Served,
    plan_for,
    pulse_stops_while_it_computes,
    served,
)
from tests.support.shiny_client import LOST

pytestmark = pytest.mark.system

# example: output, first inputs, its value, update, its value then
SERVED: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], str]] = {
    "shiny-r-hello": ("double", {"n": 20}, "40", {"n": 21}, "42"),
    "shiny-r-files": (
        "summary",
        {"cyl": "4"},
        "11 cars, 26.7 miles per gallon on average",
        {"cyl": "8"},
        "14 cars, 15.1 miles per gallon on average",
    ),
}


@pytest.fixture
def apps(needs: Any, checkout: Path) -> Path:
    needs.r("shiny")
    return checkout


def serve(source: Path, environment: Mapping[str, str] | None = None) -> Any:
    runtime = RRuntime()
    installation = runtime.installations({})[0]
    return served(plan_for(runtime, installation, purpose=Purpose.SERVE), source, environment)


async def ended(app: Served, seconds: float = 30.0) -> int:
    with trio.fail_after(seconds):
        return await app.process.wait()


@pytest.mark.parametrize("example", SERVED)
async def test_an_example_answers_with_its_page_and_its_values(apps: Path, example: str) -> None:
    output, inputs, value, update, updated = SERVED[example]
    async with serve(apps / "examples" / example) as app:
        await app.listening()
        page = await app.visitor.get()
        assert (200, True) == (page.status, b"shiny" in page.body)
        async with app.visitor.session([output], inputs) as session:
            assert value == await session.value(output)
            await session.update(**update)
            assert updated == await session.value(output)
        assert 0o660 == app.socket.stat().st_mode & 0o777


DRAWS = """
library(shiny)
shinyApp(
  function(request) {
    cat("drawn\\n", file = stderr())
    fluidPage(actionButton("go", "go"), textOutput("value"))
  },
  function(input, output) {
    output$value <- renderText("here")
    observeEvent(input$long, while (TRUE) NULL)
  }
)
"""


async def test_its_pulse_draws_no_page_and_stops_while_it_computes(
    apps: Path, tmp_path: Path
) -> None:
    (tmp_path / "app.R").write_text(DRAWS)
    async with serve(tmp_path) as app:
        await pulse_stops_while_it_computes(app)


async def test_a_plot_is_drawn(apps: Path) -> None:
    async with serve(apps / "examples/shiny-r-hello") as app:
        await app.listening()
        async with app.visitor.session(["plot"], {"n": 20}) as session:
            plot = await session.value("plot")
            assert plot["src"].startswith("data:image/png;base64,")
            await session.update(n=30)
            assert plot["src"] != (await session.value("plot"))["src"]


async def test_a_stale_socket_is_replaced(apps: Path) -> None:
    async with serve(apps / "examples/shiny-r-hello") as app:
        app.socket.touch()
        await app.listening()
        assert 200 == (await app.visitor.get()).status


async def test_an_app_that_throws_at_start_says_why_and_where(apps: Path) -> None:
    async with serve(apps / "tests/content/r-throws-at-start") as app:
        assert 1 == await ended(app)
        assert [
            "Error: no database at db.example",
            '  called from stop("no database at ", where)',
            '  called from connect("db.example")',
            "content-supervisor: the app stopped with an error: no database at db.example",
        ] == app.log.splitlines()


async def test_without_shiny_the_last_line_says_so(apps: Path) -> None:
    async with serve(apps / "examples/shiny-r-hello", {"R_LIBS_SITE": "/nowhere"}) as app:
        assert 1 == await ended(app)
        assert app.log.splitlines()[-1].startswith(
            "content-supervisor: the package 'shiny' cannot be used by R "
        )


async def test_a_profile_of_the_app_is_honoured(apps: Path, tmp_path: Path) -> None:
    (tmp_path / ".Rprofile").write_text("greeting <- 'from the profile'\n")
    (tmp_path / "app.R").write_text(
        "shinyApp(fluidPage(textOutput('value')),"
        " function(input, output) output$value <- renderText(greeting))\n"
    )
    async with serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"]) as session:
            assert "from the profile" == await session.value("value")


async def test_bookmarks_lie_in_the_state_of_the_content(apps: Path, tmp_path: Path) -> None:
    (tmp_path / "app.R").write_text(
        "library(shiny)\n"
        "shinyApp(function(request) fluidPage(textOutput('value')),"
        " enableBookmarking = 'server', function(input, output, session) {\n"
        "  onBookmarked(function(url) output$value <- renderText(url))\n"
        "  observeEvent(input$n, session$doBookmark())\n"
        "})\n"
    )
    async with serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"], {"n": 1}) as session:
            state = (await session.value("value")).partition("_state_id_=")[2]
        assert [state] == [path.name for path in (app.root / "state/shiny_bookmarks").iterdir()]
        page = await app.visitor.get(f"?_state_id_={state}")
        assert 200 == page.status


WRITES = """
library(shiny)
says <- function(text) function() cat(text, "\\n", file = "said", append = TRUE)
onStop(says("app"))
shinyApp(fluidPage(textOutput("value")), function(input, output, session) {
  session$onSessionEnded(says("session"))
  output$value <- renderText(input$n)
  observe(if (input$n == 0) while (TRUE) NULL)
})
"""


async def test_where_an_app_itself_keeps_its_bookmarks_is_honoured(
    apps: Path, tmp_path: Path
) -> None:
    (tmp_path / "app.R").write_text(
        "library(shiny)\n"
        "shinyOptions(save.interface = function(id, callback) {\n"
        "  dir.create('mine')\n"
        "  callback('mine')\n"
        "})\n"
        "shinyApp(function(request) fluidPage(textOutput('value')),"
        " enableBookmarking = 'server', function(input, output, session) {\n"
        "  onBookmarked(function(url) output$value <- renderText(url))\n"
        "  observeEvent(input$n, session$doBookmark())\n"
        "})\n"
    )
    async with serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"], {"n": 1}) as session:
            assert "_state_id_=" in await session.value("value")
        assert ["input.rds"] == [path.name for path in (app.root / "app/mine").iterdir()]
        assert [] == list((app.root / "state").iterdir())


@pytest.mark.parametrize("computes", [False, True])
async def test_the_signal_of_its_plan_ends_it_with_its_callbacks(
    apps: Path, tmp_path: Path, computes: bool
) -> None:
    (tmp_path / "app.R").write_text(WRITES)
    async with serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"], {"n": 1}) as session:
            await session.value("value")
            if computes:
                await session.update(n=0)
                await trio.sleep(0.2)
            app.process.send_signal(signal.SIGINT)
            assert 0 == await ended(app, 4.0)
        assert ["session", "app"] == (app.root / "app/said").read_text().split()
        assert "Error" not in app.log


async def test_a_session_that_is_amid_its_end_finishes_its_callbacks_at_the_signal(
    apps: Path, tmp_path: Path
) -> None:
    ends = "session$onSessionEnded(function() { says('ending')(); for (i in 1:3e7) NULL })"
    (tmp_path / "app.R").write_text(
        WRITES.replace("session$onSession", f"{ends}\n  session$onSession")
    )
    async with serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"], {"n": 1}) as session:
            await session.value("value")
        said = app.root / "app/said"
        with trio.fail_after(10):
            while not said.exists():  # noqa: ASYNC110
                await trio.sleep(0.01)
        app.process.send_signal(signal.SIGINT)
        assert 0 == await ended(app, 10.0)
        assert ["ending", "session", "app"] == said.read_text().split()


async def test_the_signal_of_its_plan_ends_it_while_it_starts(apps: Path) -> None:
    async with serve(apps / "tests/content/r-slow-start") as app:
        await trio.sleep(0.3)
        app.process.send_signal(signal.SIGINT)
        await ended(app, 4.0)


async def test_sigterm_ends_it_at_once_with_a_session_open(apps: Path) -> None:
    async with serve(apps / "examples/shiny-r-hello") as app:
        await app.listening()
        async with app.visitor.session(["double"], {"n": 1}) as session:
            await session.value("double")
            app.process.send_signal(signal.SIGTERM)
            assert -signal.SIGTERM == await ended(app, 2.0)
            assert LOST == await session.closed()
