import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from prefect_narrative.cli.exits import NotFoundError
from prefect_narrative.cli.output import Output, cell, clean, dumps, seconds

HOSTILE = [
    ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
    ("a\rb", "a\\rb"),
    ("a\x00b\x7fc", "a\\x00b\\x7fc"),
    ("\x9b31m", "\\x9b31m"),
    ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
    ("\u2066hidden\u2069", "\\u2066hidden\\u2069"),
    ("line\u2028break", "line\\u2028break"),
    ("\ud800", "\\ud800"),
    ("\ufeffmark", "\\ufeffmark"),
    ("tag\U000e0041", "tag\\U000e0041"),
    ("a\nb\tc", "a\\nb\\tc"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_steers_a_terminal_becomes_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize("text", ["[bold red]x[/]", "[link=http://evil]x[/link]", ":boom:", "Zürich 東京 é 🎉", "a\\b"])
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_line_breaks_are_kept_where_they_are_wanted() -> None:
    assert clean("a\n\tb\x1b", lines=True) == "a\n    b\\x1b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "true"),
        (336776, "336,776"),
        (0.5, "0.5"),
        (1234.56789, "1,234.5679"),
        (1e300, "1e+300"),
        (Decimal("16800"), "16,800"),
        (Decimal("1.10"), "1.10"),
        (0.00012, "0.00012"),
        (math.nan, "nan"),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01 12:00:00Z"),
        (datetime(2026, 3, 1, 12), "2026-03-01 12:00:00"),  # noqa: DTZ001
        ({"a": "\x1b"}, '{"a": "\\u001b"}'),
        ("", ""),
    ],
)
def test_a_cell_is_for_people(value: object, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.44, "0.4 s"), (200, "3 min 20 s"), (3660, "1 h 01 min"), (59.96, "60.0 s")]
)
def test_durations_are_for_people(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


def test_json_is_json_whatever_a_row_holds() -> None:
    row = [
        Decimal("1.10"),
        math.inf,
        b"\xff",
        timedelta(seconds=2),
        datetime(2026, 3, 1, tzinfo=UTC),
        "\x1b",
        {1: (2,)},
    ]
    assert json.loads(dumps(row)) == ["1.10", "inf", "/w==", 2.0, "2026-03-01T00:00:00+00:00", "\x1b", {"1": [2]}]
    assert dumps(row).isascii()


def test_a_table_elsewhere_than_on_a_terminal_is_columns_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name", "rows"), [("flights", 336776), ("a\x1b[31m", 2), ("b", None)])
    assert (
        capsys.readouterr().out == "name          rows\nflights    336,776\na\\x1b[31m        2\nb                -\n"
    )


def test_a_table_without_rows_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name", "rows"), [])
    assert capsys.readouterr().out == "name  rows\n"


def test_a_table_on_a_terminal_shows_markup_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    Output().table(("name",), [("[red]\x1b]52;c;x\x07[/red]",)], title="[b]title")
    shown = capsys.readouterr().out
    assert "[red]\\x1b]52;c;x\\x07[/red]" in shown
    assert "[b]title" in shown
    assert "\x1b]" not in shown


def test_an_error_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output().error(NotFoundError("no \x1bsuch job"))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "error: no \\x1bsuch job\nremedy: See `narrative jobs list`.\n"


def test_an_error_for_programs_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).error(NotFoundError("no such job"))
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "error": {
            "kind": "input",
            "code": "not_found",
            "message": "no such job",
            "remedy": "See `narrative jobs list`.",
        }
    }
    assert told.err == ""
