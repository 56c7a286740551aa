"""The settings that an exposed installation runs with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import Live, copied

EXPOSED = {
    "PATCHBAY_HTTPS_ONLY": "1",
    "PATCHBAY_BEHIND_PROXY": "1",
    "PATCHBAY_ALLOWED_HOSTS": "chat.example.org",
    "PATCHBAY_TRUSTED_ORIGINS": "https://chat.example.org",
}


def test_the_deployment_check_is_clean(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    live = Live(copied(populated_home, tmp_path_factory), environment=EXPOSED)
    done = live.manage("check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_a_known_secret_refuses_to_start(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """FAULTS 11: with debug off."""
    live = Live(copied(populated_home, tmp_path_factory), environment={"PATCHBAY_SECRET_KEY": "changeme"})
    done = live.manage("up", "--port", str(live.port))
    assert done.returncode != 0
    assert "PATCHBAY_SECRET_KEY is weak" in done.stderr


def test_a_port_in_use_is_explained(live: Live) -> None:
    second = Live(live.home, port=live.port)
    done = second.manage("up", "--port", str(live.port))
    assert done.returncode == 1
    assert "Choose another port" in done.stderr
