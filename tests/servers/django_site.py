"""Runs django-scim2 on loopback, in one process.

python django_site.py PORT TOKEN DATABASE
"""

import os
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.management import call_command

PORT, TOKEN, DATABASE = sys.argv[1:4]
sys.path.insert(0, str(Path(__file__).parent))


class Somebody:
    is_authenticated, is_anonymous, is_active, pk = True, False, True, 1


class Bearer:
    """Whoever has the token is somebody."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            request.user = Somebody()
        return self.get_response(request)


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    AUTH_USER_MODEL="people.User",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_scim", "people"],
    MIDDLEWARE=["__main__.Bearer", "django_scim.middleware.SCIMAuthCheckMiddleware"],
    ROOT_URLCONF="urls",
    SECRET_KEY="not a secret",
    SCIM_SERVICE_PROVIDER={
        "NETLOC": f"127.0.0.1:{PORT}",
        "SCHEME": "http",
        "GROUP_MODEL": "people.models.Group",
        "AUTHENTICATION_SCHEMES": [],
        "EXPOSE_SCIM_EXCEPTIONS": False,
    },
    USE_TZ=True,
)
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


from django.core.wsgi import get_wsgi_application  # noqa: E402

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    with make_server("127.0.0.1", int(PORT), get_wsgi_application(), Threaded, Quiet) as server:
        server.serve_forever()
