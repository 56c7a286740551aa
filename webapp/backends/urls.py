"""Route the status and usage pages."""

from django.urls import path

from webapp.backends import connect_views, usage_views, views
from webapp.backends.editor import views as editor
from webapp.backends.rollouts import views as rollouts

app_name = "backends"
urlpatterns = [
    path("backends/", views.live, name="live"),
    path("backends/connect/", connect_views.connect, name="connect"),
    path("backends/connect/found/", connect_views.found_servers, name="found"),
    path("backends/<int:pk>/check/", views.check, name="check"),
    path("backends/offers/<int:pk>/", views.offer, name="offer"),
    path("backends/look/", views.look, name="look"),
    path("routes/new/", editor.new, name="new_route"),
    path("routes/<int:pk>/", editor.edit, name="route"),
    path("routes/models/", editor.models, name="route_models"),
    path("routes/preview/", editor.preview, name="route_preview"),
    path("routes/question/", editor.question, name="route_question"),
    path("rollouts/", rollouts.index, name="rollouts"),
    path("rollouts/<int:pk>/", rollouts.detail, name="rollout"),
    path("rollouts/<int:pk>/stop/", rollouts.stop, name="stop_rollout"),
    path("rollouts/<int:pk>/promote/", rollouts.promote, name="promote_rollout"),
    path("usage/", views.usage_page, name="usage"),
    path("usage/export.csv", usage_views.export, name="usage-export"),
]
