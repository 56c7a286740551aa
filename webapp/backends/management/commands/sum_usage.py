"""`manage.py sum_usage`: sum up attempts for the usage page and the budgets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandParser

from webapp.backends.reporting import retention, usage_sums

AT_ONCE: Final = 50_000


class Command(BaseCommand):
    """Sum up attempts, or make all sums again."""

    help = "Sums up the attempts that are not summed up yet: the server does the same in the background, in smaller steps."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--rebuild", action="store_true", help="first make the sums of every day of the attempt log again")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        now = datetime.now(UTC)
        if options["rebuild"]:
            for day in usage_sums.days_with_attempts(retention.oldest_kept(now)):
                count = usage_sums.rebuild_day(day)
                problem = "the sums have attempts that the log no longer holds, so they stay"
                self.stdout.write(f"{day:%Y-%m-%d}: {problem if count is None else f'{count:,} attempts'}")
        total = 0
        while count := usage_sums.add_up(now, at_once=AT_ONCE):
            total += count
            self.stdout.write(f"{total:,} attempts added")
        self.stdout.write("All attempts are summed up.")
