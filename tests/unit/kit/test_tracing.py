"""Traces: nothing of them where nobody asks, and one trace through HTTP's ways where somebody does."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest
from aiohttp import web
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from carillon.kit.http.client import ServiceClient, ServiceUnavailable
from carillon.kit.http.observed import observed_app, observed_door, observed_shortcut
from carillon.kit.http.shortcut import Coming, Header
from carillon.kit.loader import Loader
from carillon.kit.settings import SettingsError
from carillon.kit.telemetry import correlation
from carillon.kit.telemetry.logs import with_trace_id
from carillon.kit.telemetry.tracing import TRACING, traces_given_to, traces_sent
from tests.support.peers import peer

_PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
_HEADERS: list[Header] = [(b"traceparent", _PARENT.encode()), (b"x-correlation-id", b"one")]


@pytest.fixture
def seen() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with traces_given_to(SimpleSpanProcessor(exporter), "test", {}):
        yield exporter


def told(seen: InMemorySpanExporter) -> list[tuple[str, str, str | None]]:
    """Of each span: its name, the trace, and the parent in it."""
    found = []
    for span in seen.get_finished_spans():
        assert span.context is not None
        parent = None if span.parent is None else format(span.parent.span_id, "016x")
        found.append((span.name, format(span.context.trace_id, "032x"), parent))
    return found


def test_where_nobody_asks_for_traces_nothing_of_opentelemetry_is_needed() -> None:
    """As where it is not installed: importing it fails. (The Redis client imports it wherever it finds it.)"""
    program = """
import sys
sys.modules["opentelemetry"] = None
import carillon.cli, carillon.all_in_one, carillon.running_apart
from carillon.services import SERVICES
from carillon.kit.telemetry.tracing import TRACING, traces_sent
for entry in SERVICES.values():
    entry.end_leases
with traces_sent(None, "carillon", {}):
    assert TRACING.spans is None
    assert TRACING.traceparent() is None
sys.exit("carillon.kit.telemetry.spans" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("given", "environ"),
    [
        ("http://127.0.0.1:9", {}),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}),
    ],
)
def test_an_endpoint_switches_traces_on_for_as_long_as_the_process_serves(
    given: str | None, environ: Mapping[str, str]
) -> None:
    with traces_sent(given, "carillon", environ):
        assert TRACING.spans is not None
    assert TRACING.spans is None

    with traces_sent(given, "carillon", {**environ, "OTEL_SDK_DISABLED": "true"}):
        assert TRACING.spans is None


def test_what_cannot_be_done_is_told_before_anything_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL: grpc"),
        traces_sent("http://127.0.0.1:9", "carillon", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
    ):
        pass
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(SettingsError, match=r"carillon\[traces\]"),
        traces_sent("http://127.0.0.1:9", "carillon", {}),
    ):
        pass


async def test_a_request_is_part_of_its_caller_s_trace_and_what_it_asks_of_others_is_part_of_it(
    seen: InMemorySpanExporter,
) -> None:
    carried: list[str] = []

    async def other(request: web.Request) -> web.Response:
        carried.append(request.headers["traceparent"])
        return web.Response(status=204)

    async with peer([web.get("/there", other)]) as there:
        client = ServiceClient(there.session, there.url, token="crl_secret")

        async def app(scope: dict[str, object], receive: object, send: object) -> None:
            correlation.bind("one")
            scope["path_template"] = "/api/v1/bells/{bell}"
            await client.call("GET", "/there")

        scope = {"type": "http", "method": "POST", "path": "/api/v1/bells/7", "headers": _HEADERS}
        await observed_app(app)(scope, _nothing, _nothing)  # type: ignore[arg-type]

    asked, request = seen.get_finished_spans()
    assert told(seen)[1] == ("POST /api/v1/bells/{bell}", "ab" * 16, "cd" * 8)
    assert asked.parent is not None
    assert request.context is not None
    assert asked.context is not None
    assert asked.parent.span_id == request.context.span_id
    assert carried == [f"00-{'ab' * 16}-{asked.context.span_id:016x}-01"]
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/api/v1/bells/{bell}",
        "http.response.status_code": 500,  # it never answered
        "error.type": "500",
        "carillon.correlation_id": "one",
    }


async def _nothing(*_: object) -> dict[str, object]:
    return {}


async def test_probes_and_what_nobody_traces_begin_no_trace(seen: InMemorySpanExporter) -> None:
    async def app(*_: object) -> None:
        """Answers nothing."""

    for path in ("/health", "/ready", "/metrics", "/.well-known/jwks.json"):
        await observed_app(app)({"type": "http", "method": "GET", "path": path, "headers": []}, _nothing, _nothing)  # type: ignore[arg-type]
    async with peer([]) as there:
        await ServiceClient(there.session, there.url, token="crl_secret").call("GET", "/there")

    assert told(seen) == []


async def test_a_call_that_nobody_answers_has_failed(seen: InMemorySpanExporter) -> None:
    async with peer([]) as there:
        client = ServiceClient(there.session, "http://127.0.0.1:1", token="crl_secret")
        assert TRACING.spans is not None
        with pytest.raises(ServiceUnavailable), TRACING.spans.span("work", "consumer", {}):
            await client.call("GET", "/there")

    called, _ = seen.get_finished_spans()
    assert dict(called.attributes or {}) == {"http.request.method": "GET", "error.type": "ServiceUnavailable"}
    assert called.status.is_ok is False
    assert called.events == ()


class Way:
    """A door or a shortcut with one answer."""

    route = "/api/v1/bells"

    def __init__(self) -> None:
        self.in_hand: list[str | None] = []

    async def answered(self) -> bytes:
        await asyncio.sleep(0)
        self.in_hand.append(TRACING.traceparent())
        return b"HTTP/1.1 202 Accepted\r\n\r\n"


async def test_ways_past_the_app_are_seen_like_the_others(seen: InMemorySpanExporter) -> None:
    class Open(Way):
        def __call__(self, target: bytes, given: Sequence[Header]) -> object:
            return lambda _body, _own: self.answered()

    way = Open()
    enter = observed_door(way)(b"/", _HEADERS)  # type: ignore[arg-type]
    assert enter is not None
    coming = enter(b"", [])
    assert coming is not None
    assert await coming == b"HTTP/1.1 202 Accepted\r\n\r\n"

    (span,) = seen.get_finished_spans()
    assert told(seen) == [("POST /api/v1/bells", "ab" * 16, "cd" * 8)]
    assert span.context is not None
    assert way.in_hand == [f"00-{'ab' * 16}-{span.context.span_id:016x}-01"]
    assert (span.attributes or {})["http.response.status_code"] == 202


@pytest.mark.parametrize("at_hand", [True, False])
async def test_what_is_answered_from_memory_is_seen_too(seen: InMemorySpanExporter, *, at_hand: bool) -> None:
    class Short(Way):
        def __call__(self, target: bytes, given: Sequence[Header], own: Sequence[Header]) -> bytes | Coming | None:
            return b"HTTP/1.1 200 OK\r\n\r\n" if at_hand else self.answered()

    answer = observed_shortcut(Short())(b"/", _HEADERS, [])
    assert answer is not None
    if not isinstance(answer, bytes):
        await answer

    assert told(seen) == [("GET /api/v1/bells", "ab" * 16, "cd" * 8)]
    (span,) = seen.get_finished_spans()
    assert (span.attributes or {})["http.response.status_code"] == (200 if at_hand else 202)


def test_ways_that_decline_are_not_seen(seen: InMemorySpanExporter) -> None:
    assert observed_shortcut(lambda *_: None)(b"/", _HEADERS, []) is None
    assert observed_door(lambda *_: None)(b"/", _HEADERS) is None

    assert told(seen) == []


async def test_a_question_for_many_is_asked_in_the_name_of_one_who_waits_for_it() -> None:
    """And not in that of whoever woke the flusher long ago."""
    names: list[str] = []

    async def load(keys: Sequence[int]) -> Mapping[int, int]:
        await asyncio.sleep(0)
        names.append(correlation.current())
        return {key: key for key in keys}

    loader = Loader(load, parallel=1)

    async def ask(key: int) -> None:
        correlation.bind(f"asker-{key}")
        await loader(key)

    first = asyncio.create_task(ask(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(first, ask(2))

    assert names == ["asker-1", "asker-2"]


@pytest.mark.usefixtures("seen")
def test_a_line_on_another_s_request_has_not_this_one_s_trace() -> None:
    assert TRACING.spans is not None
    correlation.bind("mine")
    with TRACING.spans.span("work", "server", {}):
        lines = [with_trace_id(None, "info", {"correlation_id": identity}) for identity in ("mine", "another's", None)]

    assert ["trace_id" in line for line in lines] == [True, False, False]
