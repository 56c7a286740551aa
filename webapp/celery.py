"""Configure Celery for several machines: `celery -A webapp worker`, with REDIS_URL set."""

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
    task_acks_late=True,  # a task is done when its rows are done
    task_reject_on_worker_lost=True,  # another worker takes over the task of a killed worker
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # reconnect forever, so that workers survive a Redis outage
    broker_transport_options={"socket_connect_timeout": 3},
    worker_hijack_root_logger=False,
)
app.autodiscover_tasks(["batches", "webapp.gateway"])
