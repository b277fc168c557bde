"""Past the framework, between the edge and it: what a shortcut can look up needs none of its hundred microseconds."""

from collections.abc import Sequence

import structlog

from carillon.kit.errors import Problem
from carillon.kit.http.answer import encoded
from carillon.kit.http.edge import App, Receive, Scope, Send, answer
from carillon.kit.http.shortcut import Ready, Shortcut

_log = structlog.get_logger()


class Bypass:
    """Wraps the framework's app, within the edge: paths are canonical, ids bound, answers timed."""

    def __init__(self, app: App, shortcuts: Sequence[Shortcut]) -> None:
        self._app = app
        self._shortcuts = shortcuts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            for shortcut in self._shortcuts:
                if (ready := await _looked_up(shortcut, scope)) is not None:
                    scope["path_template"] = shortcut.route
                    await _send(send, ready)
                    return
        await self._app(scope, receive, send)


async def _looked_up(shortcut: Shortcut, scope: Scope) -> Ready | Problem | None:
    try:
        return await shortcut.look_up(scope["raw_path"], scope["headers"])
    except Problem as problem:
        return problem
    except Exception as error:  # noqa: BLE001 - whatever it fails of, the ordinary way is open
        _log.error("shortcut_failed", exc_info=error)
        return None


async def _send(send: Send, ready: Ready | Problem) -> None:
    if isinstance(ready, Problem):
        if ready.status >= 500:  # noqa: PLR2004
            _log.warning("request_failed", code=ready.code, reason=ready.message)
        await answer(send, ready)
        return
    headers, body = encoded(ready.content, ready.headers)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
