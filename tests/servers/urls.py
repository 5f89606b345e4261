"""The addresses of django_site.py."""

from django.urls import include, path

urlpatterns = [path("scim/v2/", include("django_scim.urls"))]
