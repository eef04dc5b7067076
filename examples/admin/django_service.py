"""The admin app in Django; a project would have the last lines in its `wsgi.py`.

PARCELS_READER=... PARCELS_WRITER=... gunicorn --chdir examples/admin --threads 8 django_service:application
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import hotswap.wsgi
from parcels.prices import price
from patching import patcher, tokens

if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=secrets.token_hex())


def ask(request: HttpRequest) -> JsonResponse:
    """What a parcel costs."""
    return JsonResponse({"cents": price(float(request.GET["kilos"]))})


urlpatterns = [path("price", ask)]

ops = hotswap.wsgi.admin(patcher, authorize=tokens)
application = DispatcherMiddleware(hotswap.wsgi.SessionMiddleware(get_wsgi_application()), {"/hotswap": ops})
