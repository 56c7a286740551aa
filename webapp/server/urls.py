"""Route the addresses of the server itself."""

from django.urls import path

from webapp.server import views

app_name = "server"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics_text, name="metrics"),
    path("manifest.webmanifest", views.manifest, name="manifest"),
    path("csp-report/", views.csp_report, name="csp-report"),
]
