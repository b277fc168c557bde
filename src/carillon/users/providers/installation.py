"""The files of this installation: `credentials.json` for people, one token file per service, the signing key."""

import asyncio
from pathlib import Path

import msgspec

from carillon.kit.settings import SettingsError
from carillon.users.actions.founding import KnownCredentials
from carillon.users.actions.rotating import KeyFile
from carillon.users.providers import secret_files
from carillon.users.providers.signing_keys import (
    LEAD_SECONDS,
    SigningKey,
    new_keys,
    read_signing_keys,
    rendered,
    with_new_key,
)
from carillon.users.providers.vault import new_key, read_vault


class Installation:
    """The data folder; every file is readable by its owner alone."""

    def __init__(self, data_dir: Path) -> None:
        self._credentials = data_dir / "credentials.json"
        self._tokens = data_dir / "tokens"

    async def credentials(self) -> KnownCredentials | None:
        """None where there is no file, or one that is none of ours."""
        content = await asyncio.to_thread(secret_files.read, self._credentials)
        try:
            return None if content is None else msgspec.json.decode(content, type=KnownCredentials)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    async def keep_credentials(self, known: KnownCredentials) -> None:
        content = msgspec.json.format(msgspec.json.encode(known), indent=2) + b"\n"
        await asyncio.to_thread(secret_files.keep, self._credentials, content)

    async def token(self, service: str) -> str:
        """Empty where there is none."""
        content = await asyncio.to_thread(secret_files.read, self._token_file(service))
        return (content or b"").decode("ascii", "replace").strip()

    async def keep_token(self, service: str, token: str) -> None:
        await asyncio.to_thread(secret_files.keep, self._token_file(service), f"{token}\n".encode())

    def _token_file(self, service: str) -> Path:
        return self._tokens / f"{service}.token"


def key_file(path: Path) -> KeyFile[SigningKey]:
    """The signing keys as they are now, to be looked at again and again."""

    def content() -> bytes | None:
        try:
            return secret_files.read(path)
        except SettingsError:  # unreadable is a content too: it is told of once
            return b""

    return KeyFile(content, lambda: read_signing_keys(path), content())


def rotate_signing_keys(path: Path, *, now: float, life_seconds: float) -> list[SigningKey]:
    """Add a key that signs in a minute, drop those whose last token ended; what is in the file then."""
    keys = with_new_key(read_signing_keys(path), now=now, lead_seconds=LEAD_SECONDS, life_seconds=life_seconds)
    secret_files.keep(path, rendered(keys))
    return keys


async def ensure_encryption_key(path: Path) -> None:
    """As the signing key is made. Raises SettingsError for a bad one."""
    if not await asyncio.to_thread(path.exists):
        await asyncio.to_thread(secret_files.keep_first, path, new_key())
    await asyncio.to_thread(read_vault, path)


async def ensure_signing_key(path: Path) -> None:
    """Make the key unless it is there; of several processes one makes it. Raises SettingsError for a bad one."""
    if not await asyncio.to_thread(path.exists):
        await asyncio.to_thread(secret_files.keep_first, path, new_keys())
    await asyncio.to_thread(read_signing_keys, path)
