"""The admin app in Flask.

    PARCELS_READER=... PARCELS_WRITER=... gunicorn --chdir examples/admin --threads 8 flask_service:app

With several workers each has a patcher of its own: docs/how-to/admin-endpoint.md says what to do then.
"""

from __future__ import annotations

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import hotswap.wsgi
from parcels.prices import price
from patching import patcher, tokens

app = Flask(__name__)
ops = hotswap.wsgi.admin(patcher, authorize=tokens)
within = hotswap.wsgi.SessionMiddleware(app.wsgi_app)
app.wsgi_app = DispatcherMiddleware(within, {"/hotswap": ops})  # type: ignore[method-assign]


@app.get("/price")
def ask() -> ResponseReturnValue:
    """What a parcel costs."""
    return jsonify(cents=price(float(request.args["kilos"])))
