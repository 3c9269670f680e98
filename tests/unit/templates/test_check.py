"""What an administrator's template may hold, and what refuses the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import templates
from supervisor.templates import PAGES, Template
from supervisor.templates.check import check

FOLDER = Path(templates.__file__).parent
BASE = "<html><head>{{{head}}}</head><body>{{{body}}}</body></html>"


@pytest.mark.parametrize("name", PAGES)
def test_our_own_templates_are_accepted(name: str) -> None:
    check(f"{name}.html", (FOLDER / f"{name}.html").read_text())


@pytest.mark.parametrize(
    "text",
    [
        '<img src="data:image/png;base64,AA" alt="">',
        '<a href="https://help.example/">Help</a> <a href="mailto:it@corp.example">Mail</a>',
        '<a href="#log">Log</a><a href="{{home}}">All</a>',
        "<style>h1 { background: url(data:image/png;base64,AA) }</style>",
        '<svg><use href="#logo"/></svg>',
        "<script>document.title += '!';</script>",
    ],
)
def test_what_needs_nothing_from_elsewhere_is_accepted(text: str) -> None:
    check("missing.html", text)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("startin.html", "", "there is no page of this name; there are base.html, waiting.html"),
        ("base.html", "<html>{{{head}}}</html>", "it lacks {{{body}}}"),
        ("base.html", "{{{body}}}", "it lacks {{{head}}}"),
        ("waiting.html", "<h1>{{title}}</h1>", "it lacks {{wait}}"),
        ("index.html", "<h1>All</h1>", "it lacks {{{contents}}}"),
        ("full.html", "{{titel}}", "it has the unknown slot {{titel}}; there are {{home}}, {{tit"),
        ("full.html", "{{ title }}", "it has the unknown slot {{ title }}"),
        ("full.html", "{{{title}}}", "it has the unknown slot {{{title}}}"),
        ("full.html", "<script>var t = '{{title}}';</script>", "a slot stands in a script"),
        ("full.html", '<img src="https://cdn.example/a.png">', 'src="https://cdn.example/a.png">'),
        ("full.html", "<IMG SRC=//cdn.example/a.png>", 'src="//cdn.example/a.png">'),
        ("full.html", '<img src="logo.png">', "write images into the page as data: URLs"),
        ("full.html", '<img srcset="a.png 2x">', "refers to another resource"),
        (
            "full.html",
            '<link rel="stylesheet" href="https://x.example/a.css">',
            "refers to another",
        ),
        ("full.html", '<script src="data:text/javascript,1"></script>', "refers to another"),
        ("full.html", '<form action="https://x.example/"></form>', "refers to another resource"),
        ("full.html", '<a href="javascript:alert(1)">x</a>', "refers to another resource"),
        ("full.html", '<a href="/other">x</a>', "refers to another resource"),
        ("full.html", '<p onclick="x()">', "onclick= on <p>: only a <script> of the page runs"),
        ("full.html", '<base href="/x/">', "<base> would move every address"),
        ("full.html", "<style>@import 'a.css';</style>", "its style loads @import"),
        ("full.html", "<style>p { background: url( 'a.png') }</style>", "its style loads a.png"),
        ("full.html", '<p style="background: url(//x/a)">', "its style loads //x/a"),
    ],
)
def test_a_template_that_would_not_work_is_refused_with_the_reason(
    name: str, text: str, reason: str
) -> None:
    with pytest.raises(ValueError) as refused:
        check(name, text)
    assert reason in str(refused.value)


def test_title_and_styles_of_a_page_go_into_the_head() -> None:
    page = "<title>Voll</title>\n<style>h1 { color: red }</style>\n<h1>Voll</h1>"
    text = Template("full", {"base.html": BASE, "full.html": page}).render({})
    head, _, body = text.partition("</head>")
    assert "<title>Voll</title>" in head
    assert "<style>h1" in head
    assert "<h1>Voll</h1>" in body


def test_a_script_of_an_own_template_runs_by_its_hash() -> None:
    page = '<title>x</title><script type="module">1;</script>'
    policy = Template("full", {"full.html": page}).policy
    assert policy.endswith("script-src 'sha256-CImjRDTlhukYQ2AnxOi0wzgPhGQ3Mb3rVwJK24dFz1M='")


def test_an_own_waiting_page_keeps_its_place_without_a_script_of_its_own() -> None:
    page = '<title>Bitte warten</title><p data-wait="{{wait}}">Bitte warten</p>'
    text = Template("waiting", {"waiting.html": page}).render({"wait": "/w"})
    assert '<p data-wait="/w">Bitte warten</p>' in text
    assert 'document.querySelector("[data-wait]")' in text
    assert 'http-equiv="refresh"' in text
