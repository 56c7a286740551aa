"""The sandboxed frame for diagrams and previews: its policy."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.parametrize("kind", ["mermaid", "html", "svg"])
def test_the_frame_may_load_nothing_but_its_own_scripts(client: Client, kind: str) -> None:
    response = client.get(f"/chat/preview/{kind}/")
    policy = dict(rule.strip().split(" ", 1) for rule in response["Content-Security-Policy"].split(";"))
    assert policy["sandbox"] == "allow-scripts"
    assert policy["default-src"] == policy["connect-src"] == policy["form-action"] == "'none'"
    assert policy["script-src"].startswith("'nonce-")
    assert policy["img-src"] == policy["font-src"] == "data:"
    assert policy["frame-ancestors"] == "'self'"
    assert "X-Frame-Options" not in response
    assert ("mermaid.min.js" in response.content.decode()) == (kind == "mermaid")


def test_other_kinds_do_not_exist(client: Client) -> None:
    assert client.get("/chat/preview/pdf/").status_code == 404


@pytest.mark.django_db
def test_the_page_frames_nothing_but_its_own_pages(as_owner: Client) -> None:
    response = as_owner.get("/chat/")
    assert "frame-src 'self'" in response["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in response["Content-Security-Policy"]
    assert response["X-Frame-Options"] == "DENY"
