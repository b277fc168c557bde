"""One Carillon for all questions: without limits, with access tokens that outlive the deep run."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.fuzz.asking import Asker
from tests.support.client import connected
from tests.support.platform import QUICK, Platform, all_in_one

WITHOUT_LIMITS = {**QUICK, "CARILLON_ACCESS_TOKEN_SECONDS": "3600"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One for each file: who asks at random may end whatever the next file needs."""
    with all_in_one(tmp_path_factory.mktemp("asked"), WITHOUT_LIMITS) as platform:
        yield platform


def callers_of(platform: Platform) -> dict[str, str]:
    """The tokens of everybody who may ask, by what they are."""
    tokens = platform.data_dir / "tokens"
    return {
        "administrator": asyncio.run(administrator(platform)),
        "application": platform.credentials["application_token"],
        "email_worker": (tokens / "email_worker.token").read_text().strip(),
        "gateway": (tokens / "gateway.token").read_text().strip(),
        "nobody": "",
    }


async def administrator(platform: Platform) -> str:
    async with connected(platform) as client:
        return client.admin


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Mapping[str, str]:
    return callers_of(platform)


async def asker_of(platform: Platform) -> Asker:
    """The administrator, signed in, beside a user who may be changed, suspended and erased."""
    async with connected(platform) as client:
        stand_in = await client.register("Stand-in")
        return Asker(client.admin, platform.credentials["admin_user_id"], stand_in["user_id"])


@pytest.fixture
def asker(platform: Platform) -> Asker:
    return asyncio.run(asker_of(platform))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where schemathesis may leave what it remembers."""
    return tmp_path
