"""`manage.py doctor`: check the installation, and say what to do about each finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from webapp.core.findings import Finding
from webapp.server import health_checks

MARKS = {"ok": "ok     ", "warning": "warning", "error": "error  "}


class Command(BaseCommand):
    """Check the installation."""

    help = "Check database, layers, tokenizer, embeddings, backends, disk and settings. Exit 1 on an error."
    requires_migrations_checks = False

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run the command."""
        errors = 0
        for finding in _findings():
            errors += finding.level == "error"
            self._print(finding)
        if errors:
            raise CommandError(f"{errors} error{'s' if errors > 1 else ''} to fix")

    def _print(self, finding: Finding) -> None:
        style = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "error": self.style.ERROR}[finding.level]
        self.stdout.write(f"{style(MARKS[finding.level])}  {finding.subject}: {finding.state}")
        if finding.advice:
            self.stdout.write(f"           → {finding.advice}")


def _findings() -> Iterator[Finding]:
    yield from health_checks.everything()
    for config in apps.get_app_configs():
        examine = getattr(config, "examine", None)
        if examine:
            yield from _checked(str(config.verbose_name), examine)


def _checked(subject: str, examine: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from examine()
    except Error as error:
        yield Finding("error", subject.lower(), f"not checked: {str(error).partition(chr(10))[0]}", "Fix the database first.")
