"""What a bundle is: the runtime with the highest score says it, or the refusal says who looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from supervisor.core.makers import Makers
from supervisor.errors import SupervisorError
from supervisor.interfaces import Detected, Installation, Runtime, SourceFile
from supervisor.log import Log
from supervisor.model import ContentKind, Plan
from supervisor.plugins import Plugins
from supervisor.testing.journal import MemoryJournal
from supervisor.unpack import Unpacked


class Looking(Runtime):
    """Recognises a file of its own name."""

    def __init__(self, name: str, score: int = 50) -> None:
        self.name, self.score, self.looks_for = name, score, f"a file {name}"

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        if self.name not in {file.path for file in files}:
            return None
        return Detected(
            runtime=self.name,
            kind=ContentKind.APP,
            app_mode=self.name,
            entrypoint=self.name,
            score=self.score,
        )

    def installations(self, settings: object) -> Sequence[Installation]:
        return ()

    def plan(self, purpose: object, context: object) -> Plan:
        raise NotImplementedError


def makers(*runtimes: Runtime) -> Makers:
    plugins = Plugins()
    plugins.runtimes.update({runtime.name: runtime for runtime in runtimes})
    return Makers(
        journal=MemoryJournal(), plugins=plugins, log=Log("core"), node="n", data_dir="/", server=""
    )


def unpacked(*paths: str) -> Unpacked:
    return Unpacked(files=tuple(SourceFile(path=path, size=1) for path in paths), manifest=None)


async def test_of_several_runtimes_the_highest_score_wins() -> None:
    found = await makers(Looking("a"), Looking("b", 90)).detect(unpacked("a", "b"))
    assert "b" == found.runtime


async def test_a_bundle_that_nobody_recognises_is_refused_with_what_was_looked_for() -> None:
    with pytest.raises(SupervisorError) as caught:
        await makers(Looking("b"), Looking("a")).detect(unpacked("c"))
    assert "no-app-found" == caught.value.code
    assert "Installed runtimes: a (a file a), b (a file b)." in caught.value.hint
