"""RuntimeContract: what every runtime promises, as tests. Public: subclass it for your own.

    class TestMyRuntime(RuntimeContract):
        bundles = (MadeBundle(files={"app.jl": "using Genie"}),)   # each is recognised

        @pytest.fixture
        def runtime(self):
            return MyRuntime()

Nothing is executed but what `installations` finds: no interpreter is needed.
"""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import trio

from supervisor import layout, rights
from supervisor.errors import CODES, SupervisorError
from supervisor.interfaces import Detected, Executor, Installation, PlanContext, Runtime, SourceFile
from supervisor.layout import Role
from supervisor.model import (
    Access,
    BundleId,
    Content,
    ContentId,
    ContentKind,
    Deployment,
    DeploymentId,
    Guid,
    Plan,
    Purpose,
    Ready,
)
from supervisor.plugins.hookspecs import hookimpl
from supervisor.testing.bundles import MadeBundle
from supervisor.testing.effects import noticed
from supervisor.testing.plain import PlainExecutor
from supervisor.testing.server import running_server
from supervisor.wire import from_json, to_json

STRANGE: tuple[Any, ...] = (
    {"metadata": None},
    {"metadata": []},
    {"metadata": "text"},
    {"metadata": {"appmode": None}},
    {"metadata": {"appmode": 5}},
    {"metadata": {"appmode": ["list"], "entrypoint": {}}},
    {"metadata": {"appmode": "", "entrypoint": None}},
    {"version": "1", "files": None, "packages": 3, "python": [], "environment": ""},
)
FOREIGN: tuple[Mapping[str, str], ...] = (
    {},
    {"README.md": "# Words\n"},
    {"deep/below/a/folder/README.md": "", "LICENSE": "", "data.csv": "a,b\n1,2\n"},
)


class RuntimeContract:
    """The promises of supervisor.Runtime. A subclass gives `runtime` and `bundles`.

    bundles: what the runtime recognises by its files, at least one. purposes: what it can plan.
    setting: the key of its configuration section that names interpreters, "" where it has none.
    For the flow in a core: settings, the text of a configuration file, and patience, in seconds.
    """

    bundles: ClassVar[Sequence[MadeBundle]] = ()
    purposes: ClassVar[frozenset[Purpose]] = frozenset({Purpose.SERVE})
    setting: ClassVar[str] = "executable"
    settings: str = ""
    patience: float = 60.0

    @pytest.fixture
    @abstractmethod
    def runtime(self) -> Any:
        """Give the runtime."""

    @pytest.fixture
    def served_bundle(self) -> MadeBundle:
        """Give a bundle that an interpreter of this host can serve: its page answers with 200."""
        pytest.skip("not claimed: a bundle that is served here")

    # What tests are made of

    def installation(self, runtime: Runtime) -> Installation:
        """Give an interpreter that need not exist; override it where plans need its `detail`."""
        home = f"/opt/{runtime.name}/1.2.3"
        return Installation(
            runtime=runtime.name, version="1.2.3", executable=f"{home}/bin/x", prefixes=(home,)
        )

    def found(self, runtime: Runtime, bundle: MadeBundle) -> Detected:
        """Give what the runtime says of a bundle that it must recognise."""
        detected = runtime.detect(bundle.sources(), bundle.manifest or {})
        assert isinstance(detected, Detected), f"{sorted(bundle.files)} was not recognised"
        return detected

    def context(
        self, runtime: Runtime, detected: Detected, installation: Installation | None = None
    ) -> PlanContext:
        """Give what a plan of a content that was detected may depend on."""
        return PlanContext(
            content=Content(
                id=ContentId(1), guid=Guid("g"), name="tested", kind=detected.kind, uid=200_001
            ),
            deployment=Deployment(
                id=DeploymentId(1),
                content=ContentId(1),
                bundle=BundleId(1),
                runtime=detected.runtime,
                app_mode=detected.app_mode,
                entrypoint=detected.entrypoint,
            ),
            installation=installation or self.installation(runtime),
        )

    def plans(self, runtime: Runtime) -> list[tuple[Purpose, ContentKind, Plan]]:
        """Give a plan for each bundle and each purpose that is claimed and its kind may have."""
        plans = []
        for bundle in self.bundles:
            detected = self.found(runtime, bundle)
            for purpose in sorted(self.purposes):
                if rights.rights(purpose, detected.kind):
                    plan = runtime.plan(purpose, self.context(runtime, detected))
                    plans.append((purpose, detected.kind, plan))
        assert plans, "bundles and purposes of the test give nothing to plan"
        return plans

    # What it says of itself

    def test_it_has_a_name_and_says_what_it_looks_for(self, runtime: Runtime) -> None:
        """The name is one lower-case word; looks_for tells a publisher what is missing."""
        assert runtime.name == runtime.name.lower().strip()
        assert runtime.name.isprintable()
        assert " " not in runtime.name
        assert runtime.name
        assert runtime.looks_for

    # Detecting

    def test_what_it_knows_is_recognised_in_its_own_name(self, runtime: Runtime) -> None:
        """Each of `bundles` is recognised: by this runtime, with a kind, a mode and an entry."""
        assert self.bundles, "give the test `bundles`"
        for bundle in self.bundles:
            detected = self.found(runtime, bundle)
            assert runtime.name == detected.runtime
            assert detected.kind in ContentKind
            assert detected.app_mode
            assert detected.entrypoint

    def test_anything_else_is_not_recognised(self, runtime: Runtime) -> None:
        """Of an empty bundle, or words and data, it says None."""
        for files in FOREIGN:
            assert runtime.detect(MadeBundle(files=files).sources(), {}) is None

    def test_the_same_files_give_the_same_answer(self, runtime: Runtime) -> None:
        """Detect is pure: asked again, after others, and in another order it says the same."""
        first = [self.found(runtime, bundle) for bundle in self.bundles]
        runtime.detect((), {})
        again = [self.found(runtime, bundle) for bundle in reversed(self.bundles)][::-1]
        assert first == again
        backwards = [
            runtime.detect(bundle.sources()[::-1], bundle.manifest or {}) for bundle in self.bundles
        ]
        assert first == backwards

    def test_the_manifest_wins(self, runtime: Runtime) -> None:
        """A mode of somebody else is believed; its own mode counts for more than a guess."""
        for bundle in self.bundles:
            detected = self.found(runtime, bundle)
            others = {"metadata": {"appmode": "somebody-elses"}}
            assert runtime.detect(bundle.sources(), others) is None
            metadata = {"appmode": detected.app_mode, "entrypoint": detected.entrypoint}
            said = runtime.detect(bundle.sources(), {"metadata": metadata})
            assert said is not None
            assert detected.app_mode == said.app_mode
            guessed = runtime.detect(bundle.sources(), {})
            assert guessed is None or said.score > guessed.score

    def test_a_strange_manifest_is_no_error(self, runtime: Runtime) -> None:
        """Whatever JSON a manifest holds, detect gives a Detected or None."""
        for manifest in STRANGE:
            for bundle in (*self.bundles, MadeBundle(files={})):
                detected = runtime.detect(bundle.sources(), manifest)
                assert detected is None or isinstance(detected, Detected)

    def test_files_without_text_are_no_error(self, runtime: Runtime) -> None:
        """A large, binary or unread file has no text; detect gives a Detected or None."""
        for bundle in self.bundles:
            sources = [attrs.evolve(source, text=None) for source in bundle.sources()]
            sources.append(SourceFile(path="ünï/code.bin", size=2**33))
            detected = runtime.detect(sources, {})
            assert detected is None or isinstance(detected, Detected)

    # Planning

    def test_a_plan_for_each_purpose_keeps_its_rights(self, runtime: Runtime) -> None:
        """Every plan passes the server's check: no role beyond its purpose, nothing outside."""
        for purpose, kind, plan in self.plans(runtime):
            rights.check(plan, purpose, kind, runtime=runtime.name)
            roles = [(mount.role, mount.name) for mount in plan.mounts]
            assert len(set(roles)) == len(roles), "two mounts of one role have one name"
            assert len({mount.at for mount in plan.mounts}) == len(roles), "two lie at one path"

    def test_a_plan_can_be_carried_out(self, runtime: Runtime) -> None:
        """A program and a directory by absolute paths, an environment of plain texts."""
        for _, _, plan in self.plans(runtime):
            assert plan.argv
            assert posixpath.isabs(plan.argv[0])
            assert posixpath.isabs(plan.workdir)
            assert all(isinstance(word, str) and "\0" not in word for word in plan.argv)
            for name, value in plan.env.items():
                assert name
                assert not set(name) & set("=\0")
                assert isinstance(value, str)
                assert "\0" not in value

    def test_what_serves_has_a_socket_and_says_when_it_is_ready(self, runtime: Runtime) -> None:
        """A plan to serve mounts the role socket to write, shows the source, and has a rule."""
        for purpose, _, plan in self.plans(runtime):
            if purpose in (Purpose.SERVE, Purpose.CUSTOMIZE):
                roles = {mount.role: mount.access for mount in plan.mounts}
                assert Access.WRITE is roles.get(Role.SOCKET)
                assert Role.SOURCE in roles
                assert isinstance(plan.ready, Ready)

    def test_a_plan_is_reproducible_json(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Asked again elsewhere, the plan is the same; as JSON too."""
        first = self.plans(runtime)
        for name in ("HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER"):
            monkeypatch.setenv(name, f"/{tmp_path}/other")
        monkeypatch.chdir(tmp_path)
        assert first == self.plans(runtime)
        for _, _, plan in first:
            assert plan == from_json(Plan, json.loads(json.dumps(to_json(plan))))

    def test_a_plan_names_no_path_of_the_data_directory(self, runtime: Runtime) -> None:
        """A plan knows roles and sandbox paths; what it names lies there or with the program."""
        for _, _, plan in self.plans(runtime):
            assert plan.workdir == "/" or any(
                f"{plan.workdir}/".startswith(f"{top}/")
                for top in (layout.MOUNT_ROOT, "/home", "/tmp")
            )

    def test_what_it_cannot_do_is_refused_with_a_code(self, runtime: Runtime) -> None:
        """A purpose that is not claimed raises SupervisorError("no-runtime") with a message."""
        detected = self.found(runtime, self.bundles[0])
        for purpose in sorted({Purpose.RENDER, Purpose.CUSTOMIZE, Purpose.SERVE} - self.purposes):
            with pytest.raises(SupervisorError) as caught:
                runtime.plan(purpose, self.context(runtime, detected))
            assert "no-runtime" == caught.value.code
            assert caught.value.code in CODES
            assert caught.value.message

    # What it does to the world

    def test_detecting_and_planning_change_nothing(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """No file is written, no program started, no network asked."""
        monkeypatch.chdir(tmp_path)
        with noticed() as effects:
            self.plans(runtime)
        assert [] == effects
        assert [] == os.listdir(tmp_path)

    # Flow

    async def test_a_bundle_is_deployed_and_answers_a_visitor(
        self, runtime: Runtime, served_bundle: MadeBundle
    ) -> None:
        """In a real core, as a plain process: deployed, visited, removed, and nothing is left."""
        with tempfile.TemporaryDirectory(prefix="cs-") as path:
            plain = PlainExecutor(Path(path, "x"), Path(path, "server", "data"))
            async with running_server(
                Path(path, "server"), _Plugin(runtime, plain), settings=self.settings
            ) as server:
                where = await server.deploy("tested", served_bundle)
                await server.visit(where, "", seconds=self.patience)
                assert 1 == len(plain.living)
                await server.service.remove("tested")
                with trio.fail_after(20):
                    while plain.living:  # noqa: ASYNC110
                        await trio.sleep(0.05)

    # Interpreters

    def test_interpreters_are_named_by_absolute_paths(self, runtime: Runtime) -> None:
        """Each installation is this runtime's, exists, and shows the directories that it needs."""
        for one in self._installations(runtime):
            assert runtime.name == one.runtime
            assert one.version
            assert os.access(one.executable, os.X_OK)
            assert all(posixpath.isabs(path) for path in (one.executable, *one.prefixes))
            tops = [f"{os.path.realpath(prefix)}/" for prefix in one.prefixes]
            assert any(os.path.realpath(one.executable).startswith(top) for top in tops)

    def test_every_interpreter_that_was_found_gives_a_plan(self, runtime: Runtime) -> None:
        """What this host has can be planned for, and what runs is what was found."""
        detected = self.found(runtime, self.bundles[0])
        for one in self._installations(runtime):
            for purpose in self.purposes:
                if rights.rights(purpose, detected.kind):
                    plan = runtime.plan(purpose, self.context(runtime, detected, one))
                    assert one.executable in plan.argv

    def test_an_interpreter_that_does_not_work_is_left_out(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        """Named in the settings, what is missing, fails or answers nonsense is no error."""
        if not self.setting:
            pytest.skip("not claimed: a setting that names interpreters")
        broken = [str(tmp_path / "missing"), str(tmp_path)]
        for name, script in {"fails": "exit 1", "babbles": "echo nonsense"}.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            broken.append(str(path))
        found = runtime.installations({self.setting: broken})
        assert [] == [one for one in found if one.executable in broken]

    def test_looking_for_interpreters_leaves_nothing(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Neither in the home directory, nor where temporary files or the caller lie."""
        for name in ("HOME", "TMPDIR"):
            monkeypatch.setenv(name, str(tmp_path))
        monkeypatch.chdir(tmp_path)
        first = list(runtime.installations({}))
        assert first == list(runtime.installations({}))
        assert [] == os.listdir(tmp_path)

    def _installations(self, runtime: Runtime) -> Sequence[Installation]:
        found = runtime.installations({})
        if not found:
            pytest.skip(f"needs an interpreter of {runtime.name}")
        return found


class _Plugin:
    """Gives the runtime under test to a core, and what carries its plans out."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self._runtime, self._executor = runtime, executor

    @hookimpl
    def supervisor_runtimes(self) -> Sequence[Runtime]:
        """Give the runtime under test."""
        return [self._runtime]

    @hookimpl
    def supervisor_executors(self) -> Sequence[Executor]:
        """Give the executor."""
        return [self._executor]
