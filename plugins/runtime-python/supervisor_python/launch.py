# Serves the Shiny app in the working directory on the Unix socket SUPERVISOR_LISTEN.
# Runs inside the content's own Python, so it keeps to what Python 3.7 understands.
# mypy: disable-error-code="import-not-found"
import importlib
import inspect
import os
import re
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

EXPRESS = "shiny.express.app:"  # what publishing clients write before an encoded file name


class Unusable(Exception):
    """What the bundle holds cannot be served; the text says why."""


def fail(text: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write("content-supervisor: " + re.sub(r"\s+", " ", text) + "\n")
    sys.stderr.flush()
    sys.exit(1)


def require_shiny() -> None:
    try:
        importlib.import_module("shiny")
        importlib.import_module("uvicorn")
    except ImportError as error:
        python = ".".join(str(part) for part in sys.version_info[:3])
        fail(f"the package 'shiny' cannot be used by Python {python} in {sys.prefix}: {error}")


def load(entrypoint: str) -> Any:
    """Give the app that `app`, `app.py`, `module:object` or an encoded express file names."""
    if entrypoint.startswith(EXPRESS):
        return express(decoded(entrypoint[len(EXPRESS) :]))
    module, _, attribute = entrypoint.partition(":")
    if module.endswith(".py"):
        module = module[:-3].replace("/", ".")
    path = module.replace(".", "/") + ".py"
    attribute = attribute or "app"
    if attribute == "app" and is_express(path):
        return express(path)
    found = importlib.import_module(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise Unusable(f"{path} defines no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise Unusable(f"{attribute!r} in {path} is not an app but a {type(found).__name__}")
    return found


def decoded(name: str) -> str:
    return re.sub("_([0-9a-f]+)_", lambda match: chr(int(match.group(1), 16)), name)


def is_express(path: str) -> bool:
    try:
        from shiny.express import is_express_app
    except ImportError:  # a Shiny from before express
        return False
    return bool(is_express_app(path, os.getcwd()))


def express(path: str) -> Any:
    from shiny.express import wrap_express_app

    if not os.path.exists(path):
        raise Unusable(f"the bundle holds no {path}")
    return wrap_express_app(Path(path).resolve())


def keep_bookmarks(state: str) -> None:
    """Bookmarks belong to the content, not to one deployment of it."""
    try:
        from shiny.bookmark import set_global_restore_dir_fn, set_global_save_dir_fn
    except ImportError:  # a Shiny from before bookmarks
        return

    def directory(id: str) -> Path:
        return Path(state, "shiny_bookmarks", os.path.basename(id))

    def new_directory(id: str) -> Path:
        directory(id).mkdir(parents=True, exist_ok=True)
        return directory(id)

    set_global_save_dir_fn(new_directory)
    set_global_restore_dir_fn(directory)


def bound(path: str) -> socket.socket:
    """Give a Unix socket at `path`, of mode 0660, that does not listen yet."""
    if os.path.lexists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o117)
    try:
        server.bind(path)
    finally:
        os.umask(umask)
    return server


def serve(app: Any, path: str) -> None:
    import uvicorn

    wanted = {
        # uvloop breaks Shiny's context variables.
        "loop": "asyncio",
        "lifespan": "on",
        "log_level": "info",
        "access_log": False,
        # Only the gateway can reach the socket, so what it says about the visitor holds.
        "proxy_headers": True,
        "forwarded_allow_ips": "*",
        # Pings keep idle sessions open through middleboxes; a laptop that slept gets a minute.
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 60.0,
        # Browsers are slow to answer a close; ending must not wait for them.
        "timeout_graceful_shutdown": 2,
    }
    known = inspect.signature(uvicorn.Config.__init__).parameters
    options = {key: value for key, value in wanted.items() if key in known}
    uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[bound(path)])


def show(error: Exception) -> None:
    """Print the traceback from the app's own first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if trace.tb_frame.f_code.co_filename.startswith(os.getcwd()):
            break
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def main(entrypoint: str) -> None:
    path = os.environ.get("SUPERVISOR_LISTEN")
    if not path:
        fail("SUPERVISOR_LISTEN does not name a socket")
    require_shiny()
    if os.environ.get("SUPERVISOR_STATE"):
        keep_bookmarks(os.environ["SUPERVISOR_STATE"])
    sys.path.insert(0, os.getcwd())
    try:
        app = load(entrypoint)
    except Unusable as error:
        fail(str(error))
    except SystemExit as error:
        fail(f"the app ended itself at start: {error}")
    except Exception as error:
        show(error)
        fail(f"the app failed at start: {type(error).__name__}: {error}")
    serve(app, path)


if __name__ == "__main__":
    main(sys.argv[1])
