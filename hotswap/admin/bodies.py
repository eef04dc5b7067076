"""Bodies of JSON that can always be sent, whatever texts are in them."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import JSONResponse

__all__ = ["JsonResponse"]

_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonResponse(JSONResponse):
    r"""JSON in which halves of surrogate pairs, which UTF-8 does not have, are shown as `\udce9`.

    A reason that somebody sends may have one, as may the name of a file in the message of an exception: one answer that
    could not be sent for it would be that of the whole history.
    """

    def render(self, content: Any) -> bytes:
        """Return the bytes of an answer."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()
