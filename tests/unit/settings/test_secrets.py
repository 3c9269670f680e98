"""Secrets from files, and what is never said of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import pytest

from supervisor.errors import SupervisorError
from supervisor.settings import parse, values
from supervisor.settings.build import build
from supervisor.settings.keys import key
from supervisor.settings.secrets import LARGEST, resolve


@dataclasses.dataclass(frozen=True)
class Vault:
    section: ClassVar[str] = "Vault"
    pin: int = key("Pin", values.integer, 0, secret=True)


def vault(text: str) -> Vault:
    return build(Vault, resolve(parse(f"[Vault]\n{text}\n", "test.gcfg"), [Vault]))


def test_a_file_holds_what_the_key_would_say(tmp_path: Path) -> None:
    file = tmp_path / "pin"
    file.write_text("1234\n\n")
    assert 1234 == vault(f"PinFile = {file}").pin
    assert 0 == vault("PinFile =").pin


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read {}: No such file or directory"),
        (b"", "{} is empty"),
        (b" \n", "{} is empty"),
        (b"\xff", "{} is not UTF-8 text"),
        (b"x" * (LARGEST + 1), "{} is larger than"),
    ],
)
def test_a_file_that_cannot_be_it_is_refused_by_its_line(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "pin"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SupervisorError) as refused:
        vault(f"PinFile = {file}")
    assert refused.value.message.startswith("test.gcfg:2:11: PinFile: " + said.format(file))


def test_a_secret_is_given_one_way_only(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match=r"PinFile: Pin has a value too \(test.gcfg:3\)"):
        vault(f"PinFile = {tmp_path}/pin\nPin = 1234")


def test_a_path_is_absolute() -> None:
    with pytest.raises(SupervisorError, match="'pin' is not an absolute path"):
        vault("PinFile = pin")


def test_no_message_shows_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "pin"
    file.write_text("hunter2")
    for text in ("Pin = hunter2", f"PinFile = {file}"):
        with pytest.raises(SupervisorError) as refused:
            vault(text)
        assert "hunter2" not in str(refused.value)
        assert refused.value.message.startswith("test.gcfg:2:")
        assert "Pin: (secret) is not a whole number" in refused.value.message
