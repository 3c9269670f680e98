"""Top of the trio tree: the nesting of nurseries is the order of start and, reversed, of stop."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from supervisor import __version__
from supervisor.core.configured import Configured
from supervisor.core.contents.contents import Contents
from supervisor.core.contents.holdings import Holdings
from supervisor.core.contents.running import Running
from supervisor.core.control import Control
from supervisor.core.figures import Figures
from supervisor.core.findings import findings
from supervisor.core.retention import Retention
from supervisor.core.routing.routes import Routes
from supervisor.core.runs.adopt import sweep
from supervisor.core.runs.executors import Executors, default_of
from supervisor.core.runs.lacking import how_to_install, in_words, lacking
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.output import Kept
from supervisor.core.runs.reach import Reach
from supervisor.core.runs.runas import RunAs
from supervisor.core.scheduling.starts import Starts
from supervisor.core.scheduling.strain import Strain
from supervisor.core.scrape import Scrape
from supervisor.core.service import Service
from supervisor.core.storage import lease, uids
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.disk import Disk
from supervisor.core.storage.feed import Feed
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.observers import Observers
from supervisor.core.storage.tasks import Tasks
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change, Store
from supervisor.limits import Allowed
from supervisor.log import Log
from supervisor.model import ContentId, Node, Scaling
from supervisor.plugins.hookspecs import Context
from supervisor.plugins.loading import Plugins
from supervisor.settings import Settings

JOURNAL_SHARE = 1.0  # seconds of the shutdown that are the journal's
LAST_ANSWERS = 5.0  # seconds for requests that are under way when another core takes over


class ServeApi(Protocol):
    """The API, which lies above the core: answer on a listening socket until cancelled."""

    async def __call__(
        self,
        listener: socket.socket,
        service: Service,
        *,
        figures: Callable[[], Awaitable[bytes]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None: ...


@attrs.define(eq=False)
class Sockets:
    """The listening sockets that the parent handed over."""

    core: socket.socket
    link: socket.socket


@attrs.define(eq=False)
class Server:
    """One core. run() returns after an orderly stop; SupervisorError where it cannot serve."""

    settings: Settings
    sockets: Sockets
    control: Control
    plugins: Plugins
    log: Log
    serve_api: ServeApi
    configured: Configured | None = None
    figures: Figures = attrs.field(factory=Figures)

    @property
    def own_dir(self) -> Path:
        """The directory of RunDir that is the core's own."""
        return Path(self.settings.run_dir, "core")

    async def run(self) -> None:
        """Serve until the parent says stop, or is gone."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.control.run)
            nursery.start_soon(self._until_gone, nursery.cancel_scope)
            node = self._node()
            store = await self._open_store()
            try:
                await self._with_journal(store, node)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(store.close)
            nursery.cancel_scope.cancel()

    async def _until_gone(self, scope: trio.CancelScope) -> None:
        await self.control.gone.wait()
        self.log.error("parent-gone")
        scope.cancel()

    # -- journal ⊃ executors ⊃ contents ⊃ routes and API -------------------------------------

    async def _with_journal(self, store: Store, node: str) -> None:
        owner, ttl = lease.Owner.here(node), self.settings.server.lease_timeout
        held = await trio.to_thread.run_sync(
            lambda: lease.enter(store, owner, several=self.settings.several_nodes, ttl=ttl)
        )
        observers = Observers(plugins=self.plugins, log=self.log)
        journal = Journal(
            store,
            held,
            run_dir=self.own_dir,
            ttl=ttl,
            log=self.log,
            told=observers.told,
            wrote=self.figures.wrote,
        )
        claims = Claims(journal=journal, node=node, ttl=ttl, seats=self.settings.server.seats)
        journal.fence_of = claims.fence
        record = Node(
            id=node, lease=held.name, host=owner.host, release=__version__, started=time.time()
        )
        try:
            if not self.settings.rootless:
                first = self.settings.uid_first
                await trio.to_thread.run_sync(partial(uids.check, store, first=first))
            async with trio.open_nursery() as nursery:
                await nursery.start(journal.run)
                await nursery.start(observers.run)
                journal.fact(Change(kind="node", record=record))
                await self._with_executors(journal, claims)
                if self.control.stop.is_set():
                    ended = attrs.evolve(record, ended=time.time(), version=2)
                    journal.fact(Change(kind="node", record=ended))
                await journal.flush(JOURNAL_SHARE)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True), suppress(SupervisorError):  # else they expire
                if self.control.stop.is_set():
                    await claims.give_back()
                await trio.to_thread.run_sync(store.release, journal.lease)

    async def _with_executors(self, journal: Journal, claims: Claims) -> None:
        async with trio.open_nursery() as nursery:
            default = default_of(self.settings.applications.executor, self.plugins.executors)
            executors = Executors(installed=self.plugins.executors, log=self.log)
            await nursery.start(executors.serve)
            makers = Makers(
                journal=journal,
                plugins=self.plugins,
                log=self.log,
                node=claims.node,
                data_dir=self.settings.data_dir,
                server=self.settings.server_address,
                scaling=self._scaling(),
                allowed=Allowed.of(self.settings.scheduler),
                default=default,
                run_as=RunAs.of(self.settings),
                reach=Reach.of(self.settings),
                site_mounts=self.settings.site_mounts,
                executors=executors,
                logs=Kept(most=self.settings.jobs.logs_kept),
                moved=self.figures.moved,
            )
            executors.returned = partial(sweep, journal=journal, makers=makers, log=self.log)
            nursery.start_soon(makers.installations.look, self._section)
            await self._with_contents(journal, makers, claims)
            nursery.cancel_scope.cancel()

    async def _with_contents(self, journal: Journal, makers: Makers, claims: Claims) -> None:
        contents = Contents(
            journal=journal,
            makers=makers,
            claims=claims,
            tasks=Tasks(journal=journal),
            log=self.log,
            disk=Disk(self.settings.data_dir, self.settings.housekeeping.free),
            retention=self._retention(),
            sweep_each=self.settings.housekeeping.interval,
            address=self._address(),
            scaling=self._scaling(),
            scheduler=self.settings.scheduler,
            starts=Starts(most=self.settings.scheduler.starts_at_once or 2 * _cores()),
            uid_of=self._uid_of,
            findings_of=partial(findings, self.settings, makers),
            reload_server=self.control.reload,
        )
        routes = Routes(
            listener=self.sockets.link,
            gateway_uid=self.settings.gateway_uid,
            key=self._key(),
            core_id=secrets.token_hex(8),
            wait=(contents.scaling.init or 60.0) + 5.0,
            keepers=contents.registry.by_guid,
            workers=contents.registry.workers,
            elsewhere=contents.registry.elsewhere,
            log=self.log,
        )
        holdings = Holdings(
            journal=journal,
            makers=makers,
            contents=contents,
            claims=claims,
            log=self.log,
            several=self.settings.several_nodes,
        )
        journal.doubted = holdings.doubt
        contents.changed = routes.tell
        contents.usage = routes.usage
        scrape = Scrape(self.figures, contents, routes, self.control, self.settings.tier)
        async with trio.open_nursery() as nursery:
            contents.nursery = nursery
            nursery.start_soon(contents.upkeep.run)
            running = Running(registry=contents.registry, makers=makers, journal=journal)
            nursery.start_soon(Strain(running.usage, contents.registry, self.figures, self.log).run)
            if self.configured is not None:
                self.configured.follow(partial(self._follow, contents))
            if holdings.several:
                await nursery.start(Feed(journal, holdings.notice, log=self.log).run)
            await nursery.start(holdings.renew)
            await holdings.begin()
            nursery.start_soon(holdings.run)
            async with trio.open_nursery() as front:
                await front.start(routes.serve)
                answered = trio.Event()
                await front.start(self._answer, contents, scrape, answered)
                await self.control.say({"type": "ready"})
                self.log.info(
                    "core-ready", contents=len(contents.registry.by_guid), version=__version__
                )
                # it costs more than all before: what runs came first
                makers.installations.wanted.set()
                await self.control.ending.wait()
                holdings.rest()
                self.log.info("core-stopping", seconds=self.control.seconds)
                if self.control.leave.is_set():
                    with trio.move_on_after(LAST_ANSWERS):
                        await answered.wait()
                front.cancel_scope.cancel()
            if not self.control.leave.is_set():  # else all runs stay, for the next core
                await self._close(contents)
            nursery.cancel_scope.cancel()

    async def _answer(
        self,
        contents: Contents,
        scrape: Scrape,
        answered: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await self.serve_api(self.sockets.core, contents, figures=scrape, task_status=task_status)
        answered.set()

    async def _close(self, contents: Contents) -> None:
        """End all apps, in the time that is left."""
        grace = max(0.5, self.control.seconds - JOURNAL_SHARE - 2.0)
        with trio.move_on_after(grace + 1.5):
            async with trio.open_nursery() as nursery:
                for keeper in contents.registry.by_guid.values():
                    nursery.start_soon(keeper.close, "the server stops", grace)

    # -- facts --------------------------------------------------------------------------------

    def _follow(self, contents: Contents, settings: Settings) -> None:
        """Take the settings that `config reload` may change."""
        self.settings = settings
        contents.scaling = contents.makers.scaling = self._scaling()
        contents.scheduler = settings.scheduler
        contents.makers.allowed = Allowed.of(settings.scheduler)
        contents.starts.allow(settings.scheduler.starts_at_once or 2 * _cores())
        contents.upkeep.sweep.keep = self._retention()
        contents.disk.kept = settings.housekeeping.free
        for keeper in contents.registry.by_guid.values():
            keeper.defaults = contents.scaling
            keeper.rescale()

    async def _open_store(self) -> Store:
        make = store_of(self.settings, self.plugins)
        if kinds := lacking(self.plugins):
            self.log.warning("plugins-missing", problem=in_words(kinds), hint=how_to_install())
        return await trio.to_thread.run_sync(make, context_of(self.settings))

    def _section(self, name: str) -> dict[str, list[str]]:
        return self.settings.plugin_sections().get(name.lower(), {})

    def _node(self) -> str:
        """This node's id, which outlives cores and ends with RunDir."""
        path = self.own_dir / "node"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            node = uuid.uuid4().hex
            path.write_text(f"{node}\n")
            return node

    def _retention(self) -> Retention:
        jobs, housekeeping = self.settings.jobs, self.settings.housekeeping
        return Retention(
            runs=jobs.most_completed,
            runs_age=jobs.oldest_completed,
            logs=jobs.logs_kept,
            bundles=self.settings.applications.bundle_retention,
            rejected_age=housekeeping.oldest_rejected,
            upload_age=housekeeping.oldest_upload,
        )

    def _scaling(self) -> Scaling:
        given = dataclasses.asdict(self.settings.scheduler)
        return Scaling(**{field.name: given[field.name] for field in attrs.fields(Scaling)})

    def _key(self) -> bytes:
        """The secret that signs pins: made once, kept in DataDir, of the core alone."""
        path = Path(self.settings.data_dir, "db", "pin.key")
        if not path.exists():
            made = path.with_name(f"pin.key.{secrets.token_hex(8)}")
            fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(32))
            with suppress(FileExistsError):  # another node was quicker
                os.link(made, path)
            made.unlink()
        return hashlib.sha256(path.read_bytes()).digest()

    def _uid_of(self, content: ContentId) -> int:
        if self.settings.rootless:
            return 0
        uid = self.settings.uid_first + content
        if uid > self.settings.uid_last:
            raise SupervisorError(
                "identity-invalid",
                f"the range of content uids ends at {self.settings.uid_last}",
                hint="Enlarge Applications.UidLast; uids are never used twice.",
            )
        return uid

    def _address(self) -> str:
        if self.settings.server_address:
            return self.settings.server_address
        first = self.settings.http.listen[0]
        host = first.host if first.host not in ("", "0.0.0.0", "::") else "localhost"
        return f"http://{f'[{host}]' if ':' in host else host}:{first.port}"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def store_of(
    settings: Settings, plugins: Plugins, *, provider: str | None = None
) -> Callable[[Context], Store]:
    """Give what makes the store of the settings, or another; raises SupervisorError("no-store")."""
    stores = plugins.stores
    provider = (settings.database.provider if provider is None else provider).lower()
    if provider in stores:
        return stores[provider]
    if provider == "" and stores:
        return next(iter(stores.values()))
    for error in plugins.refused:  # it may be the one that has this store
        raise error
    if not stores:
        raise SupervisorError("no-store", in_words(lacking(plugins)), hint=how_to_install())
    known = ", ".join(sorted(stores)) or "none"
    raise SupervisorError(
        "no-store",
        f"no installed plugin provides the database {provider!r}",
        hint=f"Database.Provider can be: {known}.",
    )


def context_of(settings: Settings) -> Context:
    """Give what plugins may know of the settings."""
    return Context(
        data_dir=settings.data_dir,
        run_dir=settings.run_dir,
        settings=settings.plugin_sections(),
        rootless=settings.rootless,
        entries=settings.entries,
    )
