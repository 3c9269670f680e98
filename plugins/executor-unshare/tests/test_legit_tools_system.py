"""What content uses of other people's work: databases, certificates, documents, frameworks."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job
from supervisor.site_mounts import SiteMount

pytestmark = pytest.mark.system

Does = Callable[..., Awaitable[str]]
SEEN = "/srv/site"  # where the site's directory is seen
in_tiers = pytest.mark.parametrize("tier", ["root", "subuid", "landlock"])


@pytest.fixture
def site(needs: Any) -> Iterator[Path]:
    """A directory of the site that contents are shown at SEEN."""
    needs.root()
    made = Path(tempfile.mkdtemp(prefix="supervisor-tools-", dir="/srv"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def tier() -> str:
    """The tier that a test is about: of tools, most meet the same things in all of them."""
    return "root"


@pytest.fixture
def new_tool_node(
    tier: str,
    new_node: Callable[..., Any],
    new_ranger: Callable[..., Any],
    caller: int,
) -> Callable[..., Any]:
    """Make a node of the tier that shows these mounts."""
    if tier == "subuid":
        return lambda mounts: new_ranger(mounts=mounts)
    who = None if tier == "root" else caller
    return lambda mounts: new_node(caller=who, settings={"tier": tier, "mounts": mounts})


@pytest.fixture
def does(
    tier: str,
    new_tool_node: Callable[..., Any],
    executor_of: Callable[..., UnshareExecutor],
    shell_job: Callable[..., Job],
    nursery: trio.Nursery,
    site: Path,
) -> Does:
    """Run a script in a sandbox to a good end; gives its last line."""

    async def run(script: str, *mounts: SiteMount, **env: str) -> str:
        at = SEEN
        if tier == "landlock":  # which moves nothing
            at = str(site)
            script = script.replace(SEEN, at).replace("/tmp/", "$TMPDIR/")
        executor = executor_of(
            new_tool_node([SiteMount(name="site", path=str(site), at=at), *mounts])
        )
        await nursery.start(executor.serve)
        env = {"HOME": "/home", "TMPDIR": "/tmp", **env}
        uid = None if tier == "root" else 0
        with trio.fail_after(60):
            job = shell_job(f"exec 2>&1\nset -e\n{script}", env=env, uid=uid)
            receipt = await executor.start(job)
            output = b"".join([chunk.data async for chunk in executor.output(receipt)]).decode()
            seen = [seen async for seen in executor.watch(receipt)]
        assert isinstance(seen[-1], Exit)
        assert (Cause.FINISHED, 0) == (seen[-1].cause, seen[-1].code), output
        return output.strip().splitlines()[-1]

    return run


ASK = """
import sys, time, urllib.request
until = time.monotonic() + 45
while True:
    try:
        print(urllib.request.urlopen(sys.argv[1]).read().decode().strip().splitlines()[-1])
        break
    except OSError:
        if time.monotonic() > until: raise
        time.sleep(0.05)
"""


@in_tiers
async def test_odbc_finds_its_drivers_and_a_data_source(
    does: Does, site: Path, needs: Any, tier: str
) -> None:
    needs.program("isql")
    needs.debian("python3-pyodbc", "libsqliteodbc")
    (site / "odbc.ini").write_text("[sales]\nDriver = SQLite3\nDatabase = sales.db\n")
    (site / "ask.py").write_text(
        "import pyodbc\n"
        "base = pyodbc.connect('DSN=sales', autocommit=True)\n"
        "base.execute('create table t (a)'); base.execute('insert into t values (42)')\n"
        "print(base.execute('select a from t').fetchval())\n"
    )
    ini = f"cp {SEEN}/odbc.ini ~/.odbc.ini"  # unixODBC wants it writable
    if tier == "landlock":  # no line in passwd says where its home is
        ini = f"{ini}; export ODBCINI=$HOME/.odbc.ini"
    ask = "echo 'select a + 1 from t;' | isql -b -d, sales"
    assert "43" == await does(f"{ini}; /usr/bin/python3 {SEEN}/ask.py; {ask}")


@pytest.fixture
def private_https(site: Path, needs: Any) -> Iterator[str]:
    """A server of a private authority, whose certificate lies in the site's directory; its URL."""
    openssl = functools.partial(subprocess.run, cwd=site, check=True, capture_output=True)
    key = [needs.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    curve = ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl([*key, *curve, "-keyout", "key.pem", "-out", "ca.pem", *names])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site / "ca.pem", site / "key.pem")
    (site / "key.pem").unlink()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_address[1]}/"
        server.shutdown()


@in_tiers
async def test_tls_to_a_private_authority_that_the_site_shows(
    does: Does, site: Path, private_https: str
) -> None:
    (site / "page").write_text("private page\n")
    (site / "ask.py").write_text(ASK)
    script = (
        f"openssl verify {SEEN}/ca.pem && exit 9 || true\n"  # the host does not know it
        f"SSL_CERT_FILE={SEEN}/ca.pem /usr/bin/python3 {SEEN}/ask.py {private_https}page"
    )
    assert "private page" == await does(script)


@in_tiers
async def test_the_hosts_own_certificates_are_there(does: Does) -> None:
    script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)"
    assert "True" == await does(f"/usr/bin/python3 -c '{script}'")


async def test_a_locale_and_a_time_zone_of_the_contents_own(does: Does, needs: Any) -> None:
    needs.program("localedef")
    script = """
    mkdir /tmp/locales; localedef -i de_DE -f UTF-8 /tmp/locales/de_DE.UTF-8 || true
    export LOCPATH=/tmp/locales LC_ALL=de_DE.UTF-8 TZ=Asia/Tokyo
    /usr/bin/python3 -c 'import locale, time; locale.setlocale(locale.LC_ALL, ""); \
print(locale.str(1.5), time.strftime("%A %H %Z", time.localtime(0)))'
    """
    assert "1,5 Donnerstag 09 JST" == await does(script)


@in_tiers
async def test_pandoc_writes_a_page(does: Does, needs: Any) -> None:
    needs.program("pandoc")
    script = (
        "echo '# Über *uns*' | pandoc -s --metadata title=x -o /tmp/x.html; tail -3 /tmp/x.html"
    )
    assert "</html>" == await does(script)


async def test_r_calls_python(does: Does, needs: Any) -> None:
    rscript = needs.r("reticulate")
    script = (
        'Sys.setenv(RETICULATE_PYTHON = "/usr/bin/python3"); library(reticulate); '
        'cat(py_eval("sum(range(5))"), import("os")$getpid() == Sys.getpid(), "\\n")'
    )
    assert "10 TRUE" == await does(f"{rscript} -e '{script}'")


@in_tiers
async def test_plumber_answers(does: Does, site: Path, port: int, needs: Any) -> None:
    rscript = needs.r("plumber")
    (site / "ask.py").write_text(ASK)
    (site / "api.R").write_text("#* @serializer text\n#* @get /\nfunction() 'from plumber'\n")
    serve = f'plumber::pr_run(plumber::pr("{SEEN}/api.R"), port = {port}, docs = FALSE)'
    url = f"http://127.0.0.1:{port}/"
    script = f"{rscript} -e '{serve}' > /tmp/log 2>&1 & \n/usr/bin/python3 {SEEN}/ask.py {url}"
    assert "from plumber" == await does(script)


async def test_streamlit_answers(does: Does, site: Path, port: int, needs: Any) -> None:
    venv = os.fspath(needs.streamlit())
    (site / "ask.py").write_text(ASK)
    (site / "app.py").write_text("import streamlit\nstreamlit.write('hello')\n")
    serve = f"-m streamlit run {SEEN}/app.py --server.headless true --server.port {port}"
    quiet = "--server.address 127.0.0.1 --browser.gatherUsageStats false"
    url = f"http://127.0.0.1:{port}/_stcore/health"
    script = (
        f"{venv}/bin/python {serve} {quiet} > /tmp/log 2>&1 & \n"
        f"/usr/bin/python3 {SEEN}/ask.py {url}"
    )
    assert "ok" == await does(script, SiteMount(name="streamlit", path=venv, at=venv))
