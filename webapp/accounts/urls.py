"""Route setup, sign-in, the profile, and the start page."""

from django.urls import path

from webapp.accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.start, name="start"),
    path("accounts/login/", views.login, name="login"),
    path("accounts/logout/", views.logout, name="logout"),
    path("accounts/sign-out-everywhere/", views.sign_out_everywhere, name="sign-out-everywhere"),
    path("accounts/setup/", views.setup, name="setup"),
    path("accounts/profile/", views.profile, name="profile"),
    path("accounts/theme/", views.theme, name="theme"),
    path("accounts/language/", views.language, name="language"),
]
