"""A plugin's own sections: declared with setting(), read by the context, refused by their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from supervisor import Context, SupervisorError, setting, values


@attrs.frozen(kw_only=True)
class Lights:
    """The section [Lights]."""

    section: ClassVar[str] = "Lights"

    fade: float = setting("FadeTime", values.duration, 2.0)
    buffer: int = setting("BufferSize", values.size, 4096)
    lamp: tuple[str, ...] = setting("Lamp", values.path, (), multi=True)
    password: str = setting("Password", values.text, "", secret=True)
    dimmed: bool = False

    def __attrs_post_init__(self) -> None:
        if self.dimmed and not self.lamp:
            raise ValueError("Dimmed needs a Lamp")


@attrs.frozen(kw_only=True)
class Room:
    """The sections [Room "NAME"]."""

    section: ClassVar[str] = "Room"
    named: ClassVar[bool] = True

    floor: int = setting("Floor", values.integer)


def refused(text: str, kind: type[Any] = Lights) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        Context.of_text(text).read(kind)
    assert "settings-invalid" == caught.value.code
    return caught.value


def test_a_section_becomes_an_instance_of_its_class() -> None:
    text = "[lights]\nFadeTime = 500ms\nbuffersize = 4 KiB\nLamp = /a\nLamp = /b\nDimmed = on\n"
    expected = Lights(fade=0.5, buffer=4096, lamp=("/a", "/b"), dimmed=True)
    assert expected == Context.of_text(text).read(Lights)
    assert Context.of_text(text).has(Lights)


def test_an_absent_section_is_the_defaults() -> None:
    assert Lights() == Context.of_text("").read(Lights)
    assert not Context.of_text("").has(Lights)


def test_a_value_that_does_not_fit_is_shown_where_it_stands() -> None:
    error = refused("[Lights]\n  fadetime = 5\n")
    assert error.message.startswith("test.gcfg:2:14: FadeTime: 5 without a unit means nanoseconds")
    assert "The line is: fadetime = 5" == error.hint


def test_values_that_do_not_go_together_name_the_section_and_its_place() -> None:
    assert "test.gcfg:2: [Lights]: Dimmed needs a Lamp" == refused("[Lights]\nDimmed = 1\n").message


def test_a_key_without_a_default_must_be_given() -> None:
    with pytest.raises(SupervisorError, match=r"test.gcfg:2: \[Room\]: Floor must have a value"):
        Context.of_text('[Room "attic"]\nFloor =\n').read_named(Room)


def test_sections_with_names_are_given_by_them() -> None:
    text = '[Room "attic"]\nFloor = 3\n[Room "Cellar"]\nFloor = 0\n'
    assert {"attic": Room(floor=3), "Cellar": Room(floor=0)} == Context.of_text(text).read_named(
        Room
    )


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("[Room]\nFloor = 1\n", Room, 'the section is written [Room "name"]'),
        ('[Lights "x"]\nLamp = /a\n', Lights, "the section is written [Lights]"),
    ],
)
def test_a_name_where_none_belongs_is_refused(text: str, kind: type[Any], said: str) -> None:
    assert said in refused(text, kind).message


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    assert "hunter2" == Context.of_text(f"[Lights]\nPasswordFile = {file}\n").read(Lights).password


def test_settings_of_a_test_need_no_file() -> None:
    given = {"lights": {"lamp": ["/a"]}, 'room "attic"': {"floor": ["2"]}}
    made = Context(data_dir="/d", run_dir="/r", settings=given, rootless=True)
    assert ("/a",) == made.read(Lights).lamp
    assert {"attic": Room(floor=2)} == made.read_named(Room)
