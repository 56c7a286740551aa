"""Route the pages of batches."""

from django.urls import path

from batches.views import compare, create, monitor, playground, remote

app_name = "batches"
urlpatterns = [
    path("", monitor.index, name="index"),
    path("remote/", remote.remote, name="remote"),
    path("remote/follow/", remote.follow, name="follow"),
    path("new/", create.new, name="new"),
    path("new/check/", create.check, name="check"),
    path("new/try/", playground.try_row, name="try"),
    path("new/preview/", create.preview, name="preview"),
    path("<uuid:batch_id>/", monitor.detail, name="detail"),
    path("<uuid:batch_id>/status/", monitor.status, name="status"),
    path("<uuid:batch_id>/compare/", compare.compare, name="compare"),
    path("<uuid:batch_id>/rows/", monitor.rows, name="rows"),
    path("<uuid:batch_id>/rows/<int:number>/", monitor.row, name="row"),
    path("<uuid:batch_id>/cancel/", monitor.cancel, name="cancel"),
    path("<uuid:batch_id>/resume/", monitor.resume, name="resume"),
    path("<uuid:batch_id>/retry-failed/", monitor.retry_failed, name="retry-failed"),
    path("<uuid:batch_id>/search/", monitor.search, name="search"),
    path("<uuid:batch_id>/clone/", monitor.clone, name="clone"),
    path("<uuid:batch_id>/delete/", monitor.delete, name="delete"),
    path("<uuid:batch_id>/output.jsonl", monitor.output, name="output"),
    path("<uuid:batch_id>/errors.jsonl", monitor.errors, name="errors"),
    path("<uuid:batch_id>/merged.jsonl", monitor.merged, name="merged"),
    path("<uuid:batch_id>/merged.csv", monitor.merged_table, name="merged-table"),
    path("<uuid:batch_id>/joined.csv", monitor.joined, name="joined"),
]
