"""Chart the throughput and the latency of a batch over its time."""

from __future__ import annotations

from collections.abc import Sequence

from batches.selectors import Bucket
from webapp.core import charts
from webapp.core.charts import Chart


def batch_charts(buckets: Sequence[Bucket]) -> list[Chart]:
    """Return the charts of throughput with failures and of latency; an empty list for fewer than two periods."""
    if len(buckets) < 2:
        return []
    labels = [f"{bucket.start:%H:%M:%S}" for bucket in buckets]
    done = [bucket.ok + bucket.failed for bucket in buckets]
    failed = [bucket.failed for bucket in buckets]
    mean, slowest = [bucket.mean_ms for bucket in buckets], [bucket.max_ms for bucket in buckets]
    return [
        charts.lines("Throughput in rows a second", labels, ["finished", "failed"], [done, failed]),
        charts.lines("Latency", labels, ["mean", "slowest"], [mean, slowest], unit=charts.seconds),
    ]
