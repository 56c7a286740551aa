"""`manage.py rotate_keys`: re-encrypt stored API keys with the newest encryption key."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.backends import services
from webapp.backends.config import crypto


class Command(BaseCommand):
    """Encrypt the stored keys again."""

    help = "Re-encrypts stored API keys with the newest encryption key. Exit code 1 if one cannot be read."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--new-key", action="store_true", help="first put a new key into the key file")
        parser.add_argument("--drop-old", action="store_true", help="afterwards take the older keys out of the key file")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        try:
            if options["new_key"]:
                self.stdout.write(f"New key in {crypto.add_key()}")
            done = services.rotate_keys()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{len(done.rotated)} keys re-encrypted")
        if done.lost:
            raise CommandError(f"Cannot be read with any present key: {', '.join(done.lost)}. Enter these keys again in the admin.")
        if options["drop_old"]:
            self.stdout.write(f"{crypto.drop_old_keys()} older keys dropped")
