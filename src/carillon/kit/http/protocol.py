"""uvicorn's HTTP protocol, with the envelope also for what is no HTTP at all."""

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from carillon.kit.errors import Problem
from carillon.kit.http.envelope import failure


class BadRequest(Problem):
    """Not readable as HTTP."""

    code, status = "bad_request", 400


_BODY = msgspec.json.encode(failure(BadRequest("This is not a valid HTTP request.")))
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class EnvelopeProtocol(HttpToolsProtocol):
    def send_400_response(self, msg: str) -> None:
        del msg  # the parser's words; the client needs ours
        self.transport.write(_ANSWER)
        self.transport.close()
