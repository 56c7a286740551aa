"""The image, compose.yaml and the units name things that exist: where no Docker engine runs, their words are checked."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from django.conf import LazySettings
from django.test import Client
from django.urls import resolve

from tests.scale.installation import WORKER
from webapp.management.commands.up import Command

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCUMENTED = (ROOT / "docs" / "configuration.md").read_text()
UNITS = sorted((ROOT / "deploy").glob("*.service"))


def instructions(name: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile, one string each."""
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def of(service: str) -> dict[str, Any]:
    found: dict[str, Any] = COMPOSE["services"][service]
    return found


def test_the_image_holds_the_whole_product() -> None:
    sources = {Path(word) for line in instructions("COPY") for word in line.split()[:-1]}
    assert [path for path in sources if not (ROOT / path).exists()] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert {Path(name) for name in (*packages, "templates", "manage.py", "requirements")} <= sources
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert {str(path).split("/")[0] for path in sources} & ignored == set()


def test_the_image_is_made_of_locks_that_exist() -> None:
    locks = [lock for line in instructions("RUN") for lock in re.findall(r"-r (\S+)", line)]
    assert len(locks) == 4
    assert all((ROOT / lock).is_file() for lock in locks)
    assert all("--require-hashes" in part for line in instructions("RUN") for part in line.split("&&") if "pip install" in part)


def test_the_image_runs_as_nobody_special_and_starts_the_server() -> None:
    assert instructions("USER") == ["patchbay"]
    program, script, command, *options = json.loads(instructions("CMD")[-1])
    assert (program, script, command) == ("python", "manage.py", "up")
    assert (ROOT / script).is_file()
    assert Command().create_parser(script, command).parse_args(options).server == "uvicorn"


def test_the_image_asks_for_its_health_where_it_answers() -> None:
    (check,) = instructions("HEALTHCHECK")
    (port, path) = re.findall(r"http://127.0.0.1:(\d+)(/\w+)", check)[0]
    assert resolve(path).url_name == "healthz"
    assert instructions("EXPOSE") == [port]
    assert f"PORT={port}" in " ".join(instructions("ENV"))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_ask_by_address_whatever_hosts_are_allowed(path: str, db: None, client: Client, settings: LazySettings) -> None:
    """Docker asks 127.0.0.1 and Prometheus web1:8000, while people are let in by the public name only."""
    settings.ALLOWED_HOSTS, settings.METRICS_TOKEN = ["chat.example.org"], "metrics"
    client.defaults["HTTP_HOST"] = "127.0.0.1:8000"
    assert client.get(path, headers={"Authorization": "Bearer metrics"}).status_code == 200
    assert client.get("/").status_code == 400


def variables() -> set[str]:
    """Return the variables that the image, compose.yaml, and the units set for the product."""
    image = {name for line in instructions("ENV") for name in re.findall(r"(\w+)=", line) if not name.startswith(("PYTHON", "PIP_"))}
    units = {name for unit in UNITS for name in re.findall(r"^Environment=(\w+)=", unit.read_text(), re.MULTILINE)}
    return image | units | set(of("web1")["environment"])


def test_every_variable_that_is_set_is_one_of_ours() -> None:
    assert [name for name in sorted(variables()) if f"`{name}`" not in DOCUMENTED] == []


@pytest.mark.parametrize("service", ["web1", "web2", "worker1", "worker2"])
def test_all_processes_share_database_redis_secrets_and_files(service: str) -> None:
    found = of(service)
    assert found["environment"] == of("web1")["environment"]
    assert {"DATABASE_URL", "REDIS_URL", "PATCHBAY_SECRET_KEY", "PATCHBAY_ENCRYPTION_KEYS"} <= set(found["environment"])
    assert found["volumes"] == ["state:/state"]
    assert set(found["depends_on"]) <= set(COMPOSE["services"])
    assert "command" not in found or found["command"][: len(WORKER)] == WORKER


def test_the_proxy_leads_to_the_web_processes() -> None:
    source, target, _mode = of("proxy")["volumes"][0].split(":")
    config = (ROOT / source).read_text()
    assert target == "/etc/nginx/nginx.conf"
    assert set(re.findall(r"server (\w+):8000", config)) == set(of("proxy")["depends_on"]) == {"web1", "web2"}
    assert of("proxy")["ports"] == [f"{port}:{port}" for port in re.findall(r"listen (\d+)", config)]
    assert "proxy_buffering off" in config
    assert of("web1")["environment"]["PATCHBAY_BEHIND_PROXY"] == "1"


def test_volumes_are_declared() -> None:
    used = {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", ())}
    assert {name for name in used if not name.startswith(".")} == set(COMPOSE["volumes"])


def test_the_commands_that_make_secrets_make_good_ones() -> None:
    """Those of the comment: run as they stand."""
    commands = re.findall(r'python -c "([^"]+)"', (ROOT / "compose.yaml").read_text())
    made: list[str] = []
    for command in commands:
        exec(command, {"print": made.append})
    assert len(made) == 2
    assert len(made[0]) > 50
    assert Fernet(made[1]).decrypt(Fernet(made[1]).encrypt(b"x")) == b"x"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_what_there_is(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
    program, *arguments = shlex.split(line)
    assert program.startswith("/opt/patchbay/.venv/bin/")
    if "manage.py" in arguments:
        assert (ROOT / arguments[0]).is_file()
        Command().create_parser(*arguments[:2]).parse_args(arguments[2:])
    else:
        assert [Path(program).name, *arguments][: len(WORKER)] == WORKER
