"""Make requests from a table and a prompt template, in which `{{ column }}` stands for the row's value."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import jiter

from webapp.core import csv_tables, text_encoding
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

Row = Mapping[str, Any]
PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")  # no neighbors that match the same: it must not go back and forth
ID_COLUMNS = ("custom_id", "id")
LINE = "line"


@dataclass(frozen=True, slots=True)
class Prompting:
    """Describe how a row becomes a request."""

    endpoint: str
    model: str
    template: str
    system: str = ""
    max_tokens: int | None = None

    def body(self, row: Row) -> Json:
        """Return the request's body for one row."""
        text = fill(self.template, row)
        if self.endpoint.endswith("/embeddings"):
            return {"model": self.model, "input": text}
        messages = [{"role": "system", "content": fill(self.system, row)}] if self.system else []
        limit = {"max_tokens": self.max_tokens} if self.max_tokens else {}
        return {"model": self.model, "messages": [*messages, {"role": "user", "content": text}], **limit}


def fill(template: str, row: Row) -> str:
    """Return the template with the row's values, each put in once and literally.

    Raises:
        InputError: the template names a column that the row does not have.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if not name:
            return match[0]
        if name not in row:
            known = ", ".join(f"{{{{ {column} }}}}" for column in row)
            raise InputError(f"The template names {{{{ {name} }}}}, and the columns are {known}.", param="template")
        return _text(row[name])

    return PLACEHOLDER.sub(value, template)


def _text(cell: Any) -> str:
    try:
        return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
    except ValueError as error:  # Python writes no integers of thousands of digits
        raise InputError("A cell holds a number that is too long.", param="file") from error


def requests(rows: Iterable[Row], prompting: Prompting) -> Iterator[tuple[str, Json]]:
    """Yield (custom_id, body) for each row.

    The id is the cell of the `custom_id` or `id` column, else the number of the row. An id that repeats gets the row's number appended.
    """
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        name = next((_text(row[column]) for column in ID_COLUMNS if row.get(column) not in (None, "")), f"row-{number}")
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}-row-{number}"), prompting.body(row)


def lines(text: str) -> Iterator[Row]:
    """Yield each line that is not blank as a row with one column, `line`."""
    return ({LINE: line.strip()} for line in text.splitlines() if line.strip())


def read(file: BinaryIO, filename: str) -> Iterator[Row]:
    """Yield the rows of a CSV or JSONL file of any encoding.

    A CSV may have any common delimiter, Excel's `sep=` line, and titles above its header.

    Raises:
        InputError: the file cannot be read; names the line.
    """
    try:
        encoding = text_encoding.detect(file)
    except text_encoding.BinaryDataError as error:
        raise InputError("The file holds binary data, not text: save the table as CSV or JSONL and try again.", param="file") from error
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
    try:
        yield from _rows(text, filename)
    except csv.Error as error:
        raise InputError(f"The CSV file cannot be read: {error}.", param="file") from error
    finally:
        text.detach()


def _rows(text: io.TextIOWrapper, filename: str) -> Iterator[Row]:
    head = text.read(csv_tables.SAMPLE_CHARS)
    text.seek(0)
    is_json = filename.lower().endswith((".jsonl", ".ndjson", ".json")) or head.lstrip("\ufeff \r\n").startswith("{")
    yield from _jsonl(text) if is_json else _csv(text, head)


def _jsonl(text: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = jiter.from_json(line.encode(), allow_inf_nan=False)
        except ValueError as error:
            raise InputError(f"Line {number} is not valid JSON: {error}.", param="file", line=number) from error
        if not isinstance(row, dict):
            raise InputError(f"Line {number} is not a JSON object.", param="file", line=number)
        yield row


def _csv(text: Iterable[str], head: str) -> Iterator[Row]:
    rows = csv_tables.read_rows(text, csv_tables.find_layout(head), strict=True)
    line, cells = next(rows, (1, []))
    header = [" ".join(name.split()) for name in cells]
    if not any(header) or len(set(header)) != len(header):
        raise InputError("The first line must name the columns, each once.", param="file", line=line)
    for line, cells in rows:
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise InputError(f"Line {line} has {len(cells)} cells, and the header has {len(header)}.", param="file", line=line)
        yield dict(zip(header, cells, strict=True))


@dataclass(frozen=True, slots=True)
class Survey:
    """Hold the number of rows, and the first requests that they make."""

    rows: int
    sample: list[tuple[str, Json]]


def survey(rows: Iterable[Row], prompting: Prompting, *, most: int = 200) -> Survey:
    """Fill the template with every row, and keep the first `most` requests. Raises `InputError` for a row that cannot be filled in."""
    made = requests(rows, prompting)
    sample = list(islice(made, most))
    return Survey(len(sample) + sum(1 for _ in made), sample)
