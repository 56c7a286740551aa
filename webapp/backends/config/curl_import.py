"""Create a backend from a pasted curl command."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.db import transaction

from webapp.backends.config.addresses import KEY_HEADERS, KEY_PLACEHOLDER, validate_headers
from webapp.backends.config.presets import preset_for
from webapp.backends.models import Backend
from webapp.backends.services import add_backend, add_model, free_name
from webapp.patterns.curl.commands import from_curl


@transaction.atomic
def backend_from_curl(*, command: str) -> Backend:
    """Create the backend that the command calls, with its key, headers, and model.

    Raises:
        InputError: the command cannot be read.
        ValidationError: the backend is not valid.
    """
    parsed = from_curl(command)
    preset = preset_for(parsed.base_url)
    backend = add_backend(
        name=free_name(preset if preset != "custom" else _host(parsed.base_url)),
        base_url=parsed.base_url,
        api_key=parsed.api_key or None,
        api_key_env=parsed.key_variable or None,
    )
    headers = {name: KEY_PLACEHOLDER if name.lower() in KEY_HEADERS else value for name, value in parsed.headers.items()}
    headers = {name: value for name, value in headers.items() if name.lower() not in {"user-agent", "cookie"}}
    validate_headers(headers)
    backend.headers = headers
    backend.save()
    if parsed.model:
        add_model(backend=backend, name=parsed.model)
    return backend


def _host(base_url: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", urlsplit(base_url).netloc).strip("-.")
    return name[:60] or "backend"
