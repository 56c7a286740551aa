"""Have queued background responses run: by a Celery worker where there is Redis, else by a server process."""

from __future__ import annotations

import logging

from django.conf import settings

from webapp.gateway.responses import jobs

logger = logging.getLogger("patchbay.gateway")


def enqueue_responses() -> None:
    """Wake whoever runs responses: a Celery worker, this process or another one."""
    if settings.REDIS_URL:
        from kombu.exceptions import OperationalError

        from webapp.gateway.tasks import run_responses

        try:
            run_responses.delay()
        except OperationalError as error:
            logger.warning("Redis is away (%s): the server runs responses itself", error)
    jobs.wake()
