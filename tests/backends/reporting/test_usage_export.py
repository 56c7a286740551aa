"""Usage as CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

from django.test import Client

from tests.backends.test_views import attempt
from tests.users import Users
from webapp.backends.reporting import usage_sums
from webapp.backends.services import create_token


def table(client: Client, query: str) -> list[dict[str, str]]:
    response = client.get(f"/usage/export.csv?{query}")
    assert response["Content-Disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


def test_usage_is_exported_by_person_route_and_model_with_totals(as_administrator: Client, users: Users) -> None:
    attempt(users.owner, cost="0.5")
    attempt(users.other, model="n", outcome="failed", error="TimedOut")
    usage_sums.add_up(datetime.now(UTC))
    attempt(users.owner, cost="0.25")  # not summed yet
    *rows, total = table(as_administrator, "period=7d")
    assert [(row["user"], row["model"], row["attempts"], row["failed"]) for row in rows] == [
        ("other", "n", "1", "1"),
        ("owner", "m", "2", "0"),
    ]
    assert (total["day"], total["attempts"], total["prompt_tokens"], float(total["cost"])) == ("total", "3", "3000", 0.75)
    assert [row["model"] for row in table(as_administrator, "period=7d&model=n")] == ["n", ""]


def test_users_export_only_their_own_usage(as_owner: Client, users: Users) -> None:
    attempt(users.owner)
    attempt(users.other)
    assert [row["user"] for row in table(as_owner, "period=24h")] == ["owner", ""]


def test_usage_is_exported_by_token(as_owner: Client, users: Users) -> None:
    token, _ = create_token(user=users.owner, label="=cmd()")
    attempt(users.owner, token=token)
    attempt(users.owner)
    row, total = table(as_owner, "by=token")
    assert row["token"].startswith("'=cmd()"), "a spreadsheet must not run it"
    assert (row["attempts"], total["attempts"]) == ("1", "1")
