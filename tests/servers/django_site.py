"""Runs one of two Django applications that serve SCIM, on loopback, in one process.

python django_site.py (django_scim|django_scim2_server) PORT TOKEN DATABASE
"""

import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

APPLICATION, PORT, TOKEN, DATABASE = sys.argv[1:5]
sys.path.insert(0, str(Path(__file__).parent))
urlpatterns = []
"""The addresses; this module is its own `ROOT_URLCONF`."""


class Somebody:
    is_authenticated, is_anonymous, is_active, pk = True, False, True, 1


def has_token(request):
    return request.headers.get("Authorization") == f"Bearer {TOKEN}"


class Bearer:
    """Whoever has the token is somebody."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if has_token(request):
            request.user = Somebody()
        return self.get_response(request)


OWN = {
    "django_scim": {
        "AUTH_USER_MODEL": "people.User",
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_scim", "people"],
        "MIDDLEWARE": ["__main__.Bearer", "django_scim.middleware.SCIMAuthCheckMiddleware"],
        "SCIM_SERVICE_PROVIDER": {
            "NETLOC": f"127.0.0.1:{PORT}",
            "SCHEME": "http",
            "GROUP_MODEL": "people.models.Group",
            "AUTHENTICATION_SCHEMES": [],
        },
    },
    "django_scim2_server": {
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_scim2_server"],
        "SCIM2_SERVER_AUTH_CHECK": "__main__.has_token",
    },
}
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    ROOT_URLCONF="__main__",
    SECRET_KEY="not a secret",
    USE_TZ=True,
    **OWN[APPLICATION],
)
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)
urlpatterns.append(path("scim/v2/", include(f"{APPLICATION}.urls")))


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


with make_server("127.0.0.1", int(PORT), get_wsgi_application(), Threaded, Quiet) as server:
    server.serve_forever()
