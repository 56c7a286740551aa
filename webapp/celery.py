"""Celery, for more than one machine: `celery -A webapp worker`, as soon as REDIS_URL is set."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from celery import Celery
from django.conf import settings

app = Celery("patchbay", broker=settings.REDIS_URL or "memory://")
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,  # a task counts as done when its rows are
    task_reject_on_worker_lost=True,  # and goes to another worker when its own is killed
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # Redis comes back: nobody shall have to start the workers again
    broker_transport_options={"socket_connect_timeout": 3},
    worker_hijack_root_logger=False,
)
app.autodiscover_tasks(["batches"])
