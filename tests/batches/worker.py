"""A process that runs batches, for tests that kill it: `python -m tests.batches.worker`. Tells on stdout that it has begun."""

from __future__ import annotations

import asyncio
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

import django

django.setup()

from batches.execution.runner import Runner  # noqa: E402 - the apps must be loaded first


async def main() -> None:
    runner = Runner()
    sys.stdout.write("running\n")
    sys.stdout.flush()
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main())
