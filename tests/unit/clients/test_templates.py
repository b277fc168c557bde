"""Published templates: revalidated by ETag, served while the templates service is away, misses never kept."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from carillon.clients.templates import TemplatesClient
from carillon.contracts.templates import Content, PublishedTemplate
from carillon.kit.http.client import ServiceClient, ServiceUnavailable
from carillon.kit.http.envelope import Envelope, ErrorEnvelope
from tests.support.peers import Peer, peer


class Templates:
    """Publishes one template, `welcome`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.version = 1
        self.status = 200
        self.answers: list[int] = []
        self.queries: list[dict[str, str]] = []
        self.wears_envelope = True

    async def published(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        etag = f'"{self.version}"'
        status = self.status
        if request.match_info["code"] != "welcome":
            status = 404
        elif status == 200 and request.headers.get("If-None-Match") == etag:
            status = 304
        self.answers.append(status)
        if status == 404 and self.wears_envelope:
            refusal = ErrorEnvelope("template_not_published", "nothing is published")
            return web.Response(status=404, body=msgspec.json.encode(refusal))
        if status != 200:
            return web.Response(status=status)
        return web.Response(body=msgspec.json.encode(Envelope(self._welcome())), headers={"ETag": etag})

    def _welcome(self) -> PublishedTemplate:
        content = Content(subject="Hi", body_text="Hello")
        return PublishedTemplate(
            code="welcome",
            channel="email",
            language="en",
            version=self.version,
            category=None,
            at_most_once=False,
            content=content,
        )


@pytest.fixture
def templates() -> Templates:
    return Templates()


@pytest.fixture
async def service(templates: Templates) -> AsyncIterator[ServiceClient]:
    async with peer([web.get("/api/v1/templates/{code}/published", templates.published)]) as there:
        yield _client(there)


def _client(there: Peer) -> ServiceClient:
    return ServiceClient(there.session, there.url, token="crl_x")


async def test_an_unchanged_version_is_confirmed_without_being_sent_again(
    service: ServiceClient, templates: Templates
) -> None:
    client = TemplatesClient(service, fresh_seconds=0)
    first = await client.published("welcome", "email", None)
    second = await client.published("welcome", "email", None)

    assert first == second
    assert templates.answers == [200, 304]


async def test_a_new_publication_takes_effect(service: ServiceClient, templates: Templates) -> None:
    client = TemplatesClient(service, fresh_seconds=0)
    await client.published("welcome", "email", None)
    templates.version = 2

    found = await client.published("welcome", "email", None)
    assert found is not None
    assert found.version == 2


async def test_within_the_fresh_bound_nobody_is_asked(service: ServiceClient, templates: Templates) -> None:
    client = TemplatesClient(service, fresh_seconds=60)
    told = [await client.published("welcome", "email", "pt-BR") for _ in range(3)]

    assert client.remembered("welcome", "email", "pt-BR") == told[0]
    assert client.remembered("welcome", "email", None) is None
    assert templates.queries == [{"channel": "email", "language": "pt-BR"}]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_while_templates_is_away_the_cached_version_serves(
    service: ServiceClient, templates: Templates, status: int
) -> None:
    client = TemplatesClient(service, fresh_seconds=0)
    await client.published("welcome", "email", None)
    templates.status = status

    found = await client.look_up("welcome", "email", None)
    assert found.value is not None
    assert found.source == "stale"
    with pytest.raises(ServiceUnavailable):
        await client.published("welcome", "email", "fr")


async def test_what_is_not_published_is_none_and_asked_for_again(service: ServiceClient, templates: Templates) -> None:
    client = TemplatesClient(service, fresh_seconds=60)
    assert await client.published("other", "email", None) is None
    assert await client.published("other", "email", None) is None

    assert templates.answers == [404, 404]


async def test_a_template_that_was_withdrawn_is_gone_although_it_was_cached(
    service: ServiceClient, templates: Templates
) -> None:
    client = TemplatesClient(service, fresh_seconds=0)
    await client.published("welcome", "email", None)
    templates.status = 404

    assert await client.published("welcome", "email", None) is None


async def test_a_404_that_is_not_of_the_templates_service_says_nothing_about_the_template(
    service: ServiceClient, templates: Templates
) -> None:
    templates.status, templates.wears_envelope = 404, False
    with pytest.raises(ServiceUnavailable):
        await TemplatesClient(service).published("welcome", "email", None)


async def test_a_hostile_code_stays_one_segment_of_the_path(service: ServiceClient, templates: Templates) -> None:
    client = TemplatesClient(service)
    assert await client.published("../users/me?x=", "email", None) is None
    assert templates.answers == [404]
