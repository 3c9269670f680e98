"""Plugins that fail to import, raise, hang or mean no hook that exists: named, and not fatal."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer, live_server
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system

HOOK = "from supervisor import hookimpl\nimport time\n@hookimpl\n"
PLUGINS = {
    "broken_import": "import a_module_that_nobody_has\n",
    "exits": "raise SystemExit('I would rather not')\n",
    "too_new": "plugin_api = 99\n",
    "unknown_hook": HOOK + "def supervisor_paint_it_black(context): return []\n",
    "wrong_arguments": HOOK + "def supervisor_veto(content, colour): return None\n",
    "raises_at_start": HOOK + "def supervisor_runtimes(context): raise RuntimeError('no luck')\n",
    "gives_nonsense": HOOK + "def supervisor_executors(context): return ['an executor']\n",
    "raises_in_environment": (
        HOOK + "def supervisor_environment(content, run): raise ValueError('no variables today')\n"
    ),
    "gives_no_text": HOOK + "def supervisor_environment(content, run): return {'A': 1}\n",
    "hangs_in_observe": HOOK + "def supervisor_observe(transition): time.sleep(3600)\n",
    "forbids": (
        HOOK + "def supervisor_veto(content, purpose):\n"
        "    return 'not on a Sunday' if content.name == 'forbidden' else None\n"
    ),
    "ends_the_core": "import os\nos._exit(3)\n",
    "too_old": "plugin_api = 0\n",
    "leaves_threads": (
        HOOK + "def supervisor_observe(transition):\n"
        "    import threading\n"
        "    for _ in range(6):\n"
        "        threading.Thread(target=wait, daemon=True).start()\n"
        "def wait(): time.sleep(3600)\n"
    ),
    "not_wanted": "raise RuntimeError('this is never run')\n",
    "works": HOOK + "def supervisor_environment(content, run): return {'GREETING': 'hello'}\n",
}
PROBLEMS = {
    "broken_import": "its import failed: ModuleNotFoundError",
    "exits": "its import failed: SystemExit: I would rather not",
    "too_new": "speaks plugin API 99, this server speaks 1: update content-supervisor",
    "unknown_hook": "there is no hook 'supervisor_paint_it_black'",
    "wrong_arguments": "colour",
    "raises_at_start": "RuntimeError: no luck in supervisor_runtimes",
    "gives_nonsense": "supervisor_executors gave 'an executor', which is no Executor",
    "raises_in_environment": "ValueError: no variables today in supervisor_environment",
    "gives_no_text": "is no variable with a text",
    "ends_the_core": "the core died 3 times while its code ran for the first time",
    "too_old": "speaks plugin API 0, this server speaks 1: update the plugin",
    "leaves_threads": " threads of its own that do not end",
    "hangs_in_observe": "supervisor_observe took longer than 5 seconds",
}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    if os.geteuid() != 0:
        pytest.skip("needs root: ./dev test as root runs the system tests")
    with live_server(plugins=PLUGINS, extra="[Plugins]\nDisable = not_wanted\n") as running:
        yield running
        nothing_is_left(running)


def problems(server: LiveServer) -> dict[str, str]:
    return {view["name"]: view["problem"] for view in server.json("plugins")}


def test_the_server_works_with_a_dozen_broken_plugins_and_names_each(server: LiveServer) -> None:
    (folder := server.base / "app").mkdir()
    (folder / "app.py").write_text(
        "import os\nfrom shiny import App, ui\n"
        "print(os.environ['GREETING'])\n"
        "app = App(ui.page_fluid(), None)\n"
    )

    begun = time.monotonic()
    server.deploy(folder, "greeting")  # runs two runs, with all their hooks

    assert time.monotonic() - begun < 30, "a hook that hangs holds up what it is asked for once"
    assert "hello" in server.supervisor("logs", "greeting").stdout
    for name in ("hangs_in_observe", "leaves_threads"):
        server.until(lambda name=name: bool(problems(server)[name]), 20)  # type: ignore[misc]
    shown = problems(server)
    for name, said in PROBLEMS.items():
        assert said in shown[name], name
    assert not any(problem for name, problem in shown.items() if name not in PROBLEMS)
    doctor = server.supervisor("doctor").stdout
    log = server.log()
    for name in PROBLEMS:
        assert f"plugin {name}: " in doctor
        assert f"plugin={name}" in log
    assert "plugin works" not in doctor


def test_the_reason_of_a_veto_reaches_the_publisher(server: LiveServer) -> None:
    done = server.supervisor(
        "deploy", str(EXAMPLES / "shiny-python-core"), "--name", "forbidden", check=False
    )

    assert done.returncode == 77
    assert "not on a Sunday (plugin forbids)" in done.stderr
    assert "Traceback" not in done.stderr
    nothing_is_left(server)


def test_a_disabled_plugin_is_shown_as_such_and_is_no_finding(server: LiveServer) -> None:
    (view,) = [view for view in server.json("plugins") if view["name"] == "not_wanted"]

    assert ("disabled", "") == (view["state"], view["problem"])
    assert "not_wanted" not in server.supervisor("doctor").stdout


def test_plugins_are_listed_without_a_server_too(server: LiveServer) -> None:
    command = [str(server.python), "-I", "-m", "supervisor.parent.inventory"]
    done = subprocess.run(
        [*command, "--config", str(server.config)], capture_output=True, text=True, timeout=120
    )

    assert 0 == done.returncode, done.stderr
    shown = {view["name"]: view for view in json.loads(done.stdout)}
    assert "its code ends the process" in shown["ends_the_core"]["problem"]
    for name in ("broken_import", "exits", "too_new", "too_old", "unknown_hook", "gives_nonsense"):
        assert PROBLEMS[name] in shown[name]["problem"]
        assert "failed" == shown[name]["state"]
    assert "disabled" == shown["not_wanted"]["state"]
    assert ("loaded", ["environment"]) == (shown["works"]["state"], shown["works"]["gives"])
