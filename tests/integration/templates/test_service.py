"""The service as a deployable: its first templates, its own token, and what it answers while others are away."""

import asyncio
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from carillon.contracts.rendering import CompiledTemplates, render_content
from carillon.kit.database import open_database
from carillon.kit.settings import SettingsError
from carillon.templates.app import build, migrate, running, seed
from carillon.templates.settings import TemplatesSettings
from carillon.templates.store import TemplateStore
from tests.integration.templates.conftest import WELCOME, Author, authenticate
from tests.support.http import serving
from tests.support.processes import free_port


async def test_an_empty_installation_gets_templates_that_can_be_sent(settings: TemplatesSettings) -> None:
    await asyncio.gather(*(seed(settings) for _ in range(3)))
    await seed(settings)

    async with open_database(settings.database_url, name="test", size=1) as database:
        store = TemplateStore(database)
        email = await store.published("welcome", "email", ["en"])
        push = await store.published("welcome", "push", ["en"])
        _, versions = await store.versions("welcome", None, None, limit=10, offset=0)
    assert email is not None
    assert push is not None
    assert versions == 2
    variables = {"name": "Ada", "link": "https://example.com/x"}
    cache = CompiledTemplates()
    mail = render_content(email, variables, cache=cache)
    assert "Ada" in (mail.subject or "")
    assert "https://example.com/x" in (mail.body_text or "")
    assert 'href="https://example.com/x"' in (mail.body_html or "")
    assert render_content(push, variables, cache=cache).link == "https://example.com/x"


async def test_an_installation_with_templates_gets_no_others(settings: TemplatesSettings, author: Author) -> None:
    await author.data("POST", "", {**WELCOME, "code": "mine"})
    await seed(settings)

    assert [t["code"] for t in await author.data("GET", "")] == ["mine"]


async def test_a_version_cannot_be_changed_in_the_database_either(settings: TemplatesSettings) -> None:
    await seed(settings)
    connection = await asyncpg.connect(settings.database_url)
    try:
        with pytest.raises(asyncpg.RaiseError, match="never changes"):
            await connection.execute("UPDATE templates.template_versions SET content = '{}'")
    finally:
        await connection.close()


async def test_migrating_again_changes_nothing(settings: TemplatesSettings, author: Author) -> None:
    await author.data("POST", "", WELCOME)
    await asyncio.gather(migrate(settings), migrate(settings))

    assert (await author.data("GET", "/welcome"))["version"] == 1


@pytest.mark.parametrize("content", [None, " \n"])
async def test_a_missing_token_says_who_makes_it(
    settings: TemplatesSettings, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "templates.token"
    if content is not None:
        path.write_text(content)
    given = TemplatesSettings(database_url=settings.database_url, broker_url=settings.broker_url, token_file=path)

    with pytest.raises(SettingsError, match="carillon migrate"):
        async with build(given).open():
            pass


async def test_while_users_is_away_callers_get_503_and_health_goes_on(
    settings: TemplatesSettings, tmp_path: Path
) -> None:
    path = tmp_path / "templates.token"
    path.write_text("crl_service\n")
    given = TemplatesSettings(
        database_url=settings.database_url,
        broker_url=settings.broker_url,
        token_file=path,
        users_url=f"http://127.0.0.1:{free_port()}",
    )

    async with build(given).open() as service, serving(service.app) as url, aiohttp.ClientSession(url) as session:
        async with session.get("/api/v1/templates", headers={"Authorization": "Bearer crl_unknown"}) as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers
        async with session.get("/ready") as answer:
            assert answer.status == 200


async def test_while_the_database_is_away_the_answer_is_503(settings: TemplatesSettings) -> None:
    away = settings.database_url.replace(settings.database_url.rpartition(":")[2].partition("/")[0], str(free_port()))

    async with (
        open_database(away, name="test", size=1) as database,
        serving(running(settings, database, authenticate).app) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer author"}) as session,
    ):
        for method, path in (("GET", "/api/v1/templates"), ("GET", "/api/v1/templates/a/published?channel=email")):
            async with session.request(method, path) as answer:
                assert (answer.status, (await answer.json())["error"]) == (503, "unavailable")
        async with session.get("/ready") as answer:
            assert answer.status == 503
