"""The Django admin in the product's looks."""

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig


class PatchbayAdminSite(AdminSite):
    site_header = "Patchbay"
    site_title = "Patchbay"
    index_title = "Configuration"
    site_url = "/"


class PatchbayAdminConfig(AdminConfig):
    default_site = "webapp.admin.PatchbayAdminSite"
