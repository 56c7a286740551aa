"""Requests from tables and templates."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from batches.input import tables
from batches.input.tables import Prompting, fill
from webapp.patterns.errors import InputError

ASK = Prompting("/v1/chat/completions", "m", "Say {{name}}")


def rows(raw: bytes, name: str = "t.csv") -> list[dict[str, object]]:
    return [dict(row) for row in tables.read(io.BytesIO(raw), name)]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"name,age\nAda,36\n", "t.csv"),
        (b"\xef\xbb\xbfname;age\r\nAda;36\r\n\r\n", "t.csv"),
        (b"name\tage\nAda\t36", "t.tsv"),
        (b'"name","age"\n"Ada","36"\n', "t.txt"),
        (b'{"name": "Ada", "age": "36"}\n\n', "t.jsonl"),
        (b'{"name": "Ada", "age": "36"}', "t.txt"),
    ],
)
def test_tables_of_every_common_kind_are_read(raw: bytes, name: str) -> None:
    assert rows(raw, name) == [{"name": "Ada", "age": "36"}]


@pytest.mark.parametrize(
    "raw",
    [
        "sep=;\r\nStraße;Ort\r\nHauptstraße 5;Köln\r\n".encode("cp1252"),
        '"sep=;"\nStraße;Ort\nHauptstraße 5;Köln\n'.encode(),
        "Export vom 1. Mai\n\nStraße;Ort\nHauptstraße 5;Köln\n".encode("cp1252"),
        "Bericht;\nStand: Mai, Juni;\nStraße;Ort\nHauptstraße 5;Köln\n".encode(),
        '"Straße"\t"Ort"\n"Hauptstraße 5"\t"Köln"\n'.encode("utf-16"),
    ],
)
def test_a_table_as_excel_saves_it_is_read(raw: bytes) -> None:
    """Semicolons, Windows-1252, a `sep=` line, titles above the header, UTF-16."""
    assert rows(raw) == [{"Straße": "Hauptstraße 5", "Ort": "Köln"}]


def test_a_quoted_header_may_hold_the_other_delimiter() -> None:
    raw = (Path(__file__).parent / "tables" / "batch-table-quoted-header.csv").read_bytes()
    assert [fill("{{ Name, full }} in {{ City }}", row) for row in rows(raw)] == ["Müller in Köln"]


def test_bytes_that_are_not_utf_8_are_found_however_late_they_come() -> None:
    raw = b"name;town\n" + b"Ada;Ulm\n" * 200_000 + "Jürgen;Köln\n".encode("cp1252")
    assert rows(raw)[-1] == {"name": "Jürgen", "town": "Köln"}


def test_a_cell_may_hold_lines_and_quotes() -> None:
    assert rows(b'name\n"two\nlines, ""quoted"""\n') == [{"name": 'two\nlines, "quoted"'}]


@pytest.mark.parametrize(
    ("raw", "name", "said"),
    [
        (b"a,b\n1\n", "t.csv", "Line 2 has 1 cells"),
        (b"a,a\n1,2\n", "t.csv", "name the columns"),
        (b"", "t.csv", "name the columns"),
        (b"a\n" + bytes(range(256)) * 9, "t.csv", "binary data"),
        (b'a\n"open', "t.csv", "CSV file cannot be read"),
        (b"{\n", "t.jsonl", "Line 1 is not valid JSON"),
        (b"[1]\n", "t.jsonl", "Line 1 is not a JSON object"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(raw: bytes, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rows(raw, name)


def test_values_are_put_in_literally_and_once() -> None:
    """FAULTS 17: template and format strings are text."""
    assert fill("{{ a }} {0.__class__} {{ a }} %s", {"a": "{{7*7}} {{ a }}"}) == "{{7*7}} {{ a }} {0.__class__} {{7*7}} {{ a }} %s"
    assert fill("{{ n }}", {"n": {"x": [1, None]}}) == '{"x": [1, null]}'


def test_an_unknown_column_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"\{\{ nane \}\}, and the columns are \{\{ name \}\}"):
        fill("{{ nane }}", {"name": "x"})


def test_ids_come_from_the_table_and_are_made_unique() -> None:
    made = list(tables.requests([{"id": "a", "name": "1"}, {"id": "a", "name": "2"}, {"id": "", "name": "3"}], ASK))
    assert [custom_id for custom_id, _ in made] == ["a", "a-row-2", "row-3"]


def test_bodies_have_what_was_asked_for() -> None:
    (made,) = tables.survey([{"name": "x"}], Prompting("/v1/chat/completions", "m", "{{name}}", "Be {{name}}", 5)).sample
    assert made[1] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be x"}, {"role": "user", "content": "x"}],
        "max_tokens": 5,
    }
    (vector,) = tables.survey(tables.lines(" x \n\n"), Prompting("/v1/embeddings", "m", "{{ line }}")).sample
    assert vector[1] == {"model": "m", "input": "x"}


def test_every_row_is_looked_through_and_the_first_are_kept() -> None:
    prompting = Prompting("/v1/chat/completions", "m", "{{ name }}")
    found = tables.survey(({"name": str(number)} for number in range(500)), prompting, most=3)
    assert (found.rows, [name for name, _ in found.sample]) == (500, ["row-1", "row-2", "row-3"])
    with pytest.raises(InputError, match="template names"):
        tables.survey([*({"name": "x"} for _ in range(300)), {"other": "y"}], prompting)
