"""`manage.py create_token`: create a token for the gateway."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.accounts.models import User
from webapp.backends import services


class Command(BaseCommand):
    """Create an API token."""

    help = "Prints a new gateway token, alone on stdout: it is kept as a hash and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--user", required=True, metavar="NAME")
        parser.add_argument("--label", default="", metavar="L")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not user.is_active:
            raise CommandError(f"{user.username} is suspended: its tokens would be refused.")
        _row, plaintext = services.create_token(user=user, label=options["label"][:100])
        self.stdout.write(plaintext)
