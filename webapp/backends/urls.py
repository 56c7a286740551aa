"""Route the status and usage pages."""

from django.urls import path

from webapp.backends import views

app_name = "backends"
urlpatterns = [
    path("backends/", views.live, name="live"),
    path("backends/<int:pk>/check/", views.check, name="check"),
    path("backends/offers/<int:pk>/", views.offer, name="offer"),
    path("backends/look/", views.look, name="look"),
    path("usage/", views.usage_page, name="usage"),
]
