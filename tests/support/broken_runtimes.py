"""Runtimes with one fault each: each docstring names the tests that fail."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from supervisor import (
    Access,
    Detected,
    Installation,
    Mount,
    Plan,
    PlanContext,
    Purpose,
    Role,
    SourceFile,
    SupervisorError,
    layout,
)
from tests.support.toy_runtime import ToyRuntime


class HasNoName(ToyRuntime):
    """Its name is no word.

    test_it_has_a_name_and_says_what_it_looks_for
    """

    name = "A Toy"


class SaysNothingOfItself(ToyRuntime):
    """Nobody is told what it looks for.

    test_it_has_a_name_and_says_what_it_looks_for
    """

    looks_for = ""


# Detecting


class CountsItsCalls(ToyRuntime):
    """The score grows with every answer.

    test_the_same_files_give_the_same_answer
    """

    count = 0

    def found(self, entrypoint: str, score: int) -> Detected:
        self.count += 1
        return super().found(entrypoint, score + self.count)


class GoesByTheFirstFile(ToyRuntime):
    """Whichever file comes first is the entry point.

    test_the_same_files_give_the_same_answer
    """

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        found = super().detect(files, manifest)
        return found and attrs.evolve(found, entrypoint=files[0].path)


class KnowsEverything(ToyRuntime):
    """Every bundle is recognised.

    test_anything_else_is_not_recognised
    test_the_manifest_wins
    """

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        return super().detect(files, manifest) or self.found("app.toy", 1)


class IgnoresTheManifest(ToyRuntime):
    """What the publisher says counts for nothing.

    test_the_manifest_wins
    """

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        return super().detect(files, {})


class GuessesWithCertainty(ToyRuntime):
    """A guess counts as much as the publisher's word.

    test_the_manifest_wins
    """

    def found(self, entrypoint: str, score: int) -> Detected:
        return super().found(entrypoint, 100)


class TripsOverManifests(ToyRuntime):
    """A manifest that is not as expected is a TypeError.

    test_a_strange_manifest_is_no_error
    """

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        mode = manifest.get("metadata", {}).get("appmode") or ""
        return super().detect(files, {"metadata": {"appmode": mode.lower()}})


class WantsEveryText(ToyRuntime):
    """A file that nobody has read is an error.

    test_files_without_text_are_no_error
    """

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        for file in files:
            if file.path.endswith((".R", ".bin")):
                assert file.text is not None
        return super().detect(files, manifest)


class SpeaksForAnother(ToyRuntime):
    """What it recognises is said to be another runtime's.

    test_what_it_knows_is_recognised_in_its_own_name
    """

    def found(self, entrypoint: str, score: int) -> Detected:
        return attrs.evolve(super().found(entrypoint, score), runtime="game")


class WritesWhileItLooks(ToyRuntime):
    """Detecting leaves a file.

    test_detecting_and_planning_change_nothing
    """

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("seen")
        return super().detect(files, manifest)


# Planning


class _Changed(ToyRuntime):
    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        return self.changed(super().plan(purpose, context))

    def changed(self, plan: Plan) -> Plan:
        return plan


class WantsTheLibrary(ToyRuntime):
    """An app wants to write the package library.

    test_a_plan_for_each_purpose_keeps_its_rights
    """

    def mounts(self) -> tuple[Mount, ...]:
        at = layout.at(Role.LIBRARY, "toy")
        return (*super().mounts(), Mount(role=Role.LIBRARY, access=Access.WRITE, at=at))


class MountsOutside(ToyRuntime):
    """A mount lies outside the sandbox's own directory.

    test_a_plan_for_each_purpose_keeps_its_rights
    """

    def mounts(self) -> tuple[Mount, ...]:
        return (*super().mounts(), Mount(role=Role.STATE, access=Access.WRITE, at="/etc"))


class MountsTwiceAtOnePath(ToyRuntime):
    """Two roles lie at one path.

    test_a_plan_for_each_purpose_keeps_its_rights
    """

    def mounts(self) -> tuple[Mount, ...]:
        at = layout.at(Role.SOURCE)
        return (*super().mounts(), Mount(role=Role.STATE, access=Access.WRITE, at=at))


class NamesItsProgramOnly(_Changed):
    """The program is named without its directory.

    test_a_plan_can_be_carried_out
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, argv=("toy", plan.argv[0]))


class RunsSomethingElse(_Changed):
    """What runs is not the interpreter that was found.

    test_every_interpreter_that_was_found_gives_a_plan
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, argv=("/usr/bin/toy", *plan.argv[1:]))


class NumbersInTheEnvironment(_Changed):
    """A variable is a number.

    test_a_plan_can_be_carried_out
    test_a_plan_is_reproducible_json
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, env={**plan.env, "PORT": 8080})  # type: ignore[dict-item]


class ServesWithoutASocket(ToyRuntime):
    """What serves has nowhere to listen.

    test_what_serves_has_a_socket_and_says_when_it_is_ready
    """

    def mounts(self) -> tuple[Mount, ...]:
        return tuple(mount for mount in super().mounts() if mount.role is not Role.SOCKET)


class IsNeverReady(_Changed):
    """Nobody is told how to know that it is ready.

    test_what_serves_has_a_socket_and_says_when_it_is_ready
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, ready=None)


class PlansByChance(_Changed):
    """Each plan has a secret of its own.

    test_a_plan_is_reproducible_json
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, env={**plan.env, "SECRET": uuid.uuid4().hex})


class LooksAroundItself(_Changed):
    """A plan has what stands in the server's own environment.

    test_a_plan_is_reproducible_json
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, env={**plan.env, "TZ": os.environ.get("TZ", "UTC")})


class KnowsTheDataDir(_Changed):
    """A plan works in a directory of this host.

    test_a_plan_names_no_path_of_the_data_directory
    """

    def changed(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, workdir="/var/lib/content-supervisor/apps/1/1")


class StartsAProgramToPlan(_Changed):
    """Planning starts a program.

    test_detecting_and_planning_change_nothing
    """

    def changed(self, plan: Plan) -> Plan:
        subprocess.run(["/bin/true"], check=True)
        return plan


class AsksTheNetworkToPlan(_Changed):
    """Planning asks who answers on a port.

    test_detecting_and_planning_change_nothing
    """

    def changed(self, plan: Plan) -> Plan:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
        return plan


class RefusesWithoutACode(ToyRuntime):
    """What it cannot do is a ValueError.

    test_what_it_cannot_do_is_refused_with_a_code
    """

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        if purpose is not Purpose.SERVE:
            raise ValueError(purpose)
        return super().plan(purpose, context)


class RefusesWithAnotherCode(ToyRuntime):
    """What it cannot do is told as a missing interpreter.

    test_what_it_cannot_do_is_refused_with_a_code
    """

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        if purpose is not Purpose.SERVE:
            raise SupervisorError("runtime-missing", "no toy is installed")
        return super().plan(purpose, context)


class PlansAnything(ToyRuntime):
    """What it cannot do is planned as serving.

    test_what_it_cannot_do_is_refused_with_a_code
    """

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        return super().plan(Purpose.SERVE, context)


# Interpreters


class BelievesTheSettings(ToyRuntime):
    """An interpreter that is named in the settings is not asked whether it works.

    test_an_interpreter_that_does_not_work_is_left_out
    """

    def speaks(self, path: str) -> bool:
        return True


class FailsWithItsInterpreter(ToyRuntime):
    """An interpreter that cannot be executed is an error.

    test_an_interpreter_that_does_not_work_is_left_out
    """

    def speaks(self, path: str) -> bool:
        done = subprocess.run([path, "-c", "echo toy"], capture_output=True, timeout=20)
        return done.stdout == b"toy\n"


class ShowsAnotherDirectory(ToyRuntime):
    """The directories to show do not hold the interpreter.

    test_interpreters_are_named_by_absolute_paths
    """

    def installation(self, path: str) -> Installation:
        return attrs.evolve(super().installation(path), prefixes=("/opt/toy",))


class FindsForAnother(ToyRuntime):
    """The interpreters that it finds are said to be another runtime's.

    test_interpreters_are_named_by_absolute_paths
    """

    def installation(self, path: str) -> Installation:
        return attrs.evolve(super().installation(path), runtime="game")


class KeepsACache(ToyRuntime):
    """Looking for interpreters leaves a file in the home directory.

    test_looking_for_interpreters_leaves_nothing
    """

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        Path(os.environ["HOME"], ".toys").write_text("/bin/sh")
        return super().installations(settings)


BROKEN = tuple(
    kind
    for name, kind in list(vars().items())
    if isinstance(kind, type)
    and issubclass(kind, ToyRuntime)
    and kind.__module__ == __name__
    and not name.startswith("_")
)
