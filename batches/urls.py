"""Addresses of batches."""

from django.urls import path

from batches import views, views_new, views_remote

app_name = "batches"
urlpatterns = [
    path("", views.index, name="index"),
    path("remote/", views_remote.remote, name="remote"),
    path("remote/follow/", views_remote.follow, name="follow"),
    path("new/", views_new.new, name="new"),
    path("new/check/", views_new.check, name="check"),
    path("new/preview/", views_new.preview, name="preview"),
    path("<uuid:batch_id>/", views.detail, name="detail"),
    path("<uuid:batch_id>/status/", views.status, name="status"),
    path("<uuid:batch_id>/rows/", views.rows, name="rows"),
    path("<uuid:batch_id>/rows/<int:number>/", views.row, name="row"),
    path("<uuid:batch_id>/cancel/", views.cancel, name="cancel"),
    path("<uuid:batch_id>/resume/", views.resume, name="resume"),
    path("<uuid:batch_id>/retry-failed/", views.retry_failed, name="retry-failed"),
    path("<uuid:batch_id>/search/", views.search, name="search"),
    path("<uuid:batch_id>/clone/", views.clone, name="clone"),
    path("<uuid:batch_id>/delete/", views.delete, name="delete"),
    path("<uuid:batch_id>/output.jsonl", views.output, name="output"),
    path("<uuid:batch_id>/errors.jsonl", views.errors, name="errors"),
    path("<uuid:batch_id>/joined.csv", views.joined, name="joined"),
]
