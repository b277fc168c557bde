"""Secrets that the service itself has to read, encrypted with a key that is not in the database."""

import base64
import binascii
import secrets
from pathlib import Path
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from carillon.kit.errors import Unavailable
from carillon.kit.settings import SettingsError
from carillon.users.providers import secret_files

_log = structlog.get_logger()
_KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"carillon users second factors"


class Vault:
    """AES-256-GCM; the user's id is bound in, so that a row that was copied to another user does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(HKDF(SHA256(), _KEY_BYTES, salt=None, info=_PURPOSE).derive(key))

    def seal(self, user_id: UUID, secret: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, user_id.bytes)

    def unseal(self, user_id: UUID, sealed: bytes) -> bytes:
        """Raises Unavailable for what another key has sealed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], user_id.bytes)
        except (InvalidTag, ValueError):
            _log.error("second_factor_unreadable", user_id=str(user_id))
            raise Unavailable("Codes cannot be checked here at the moment: a recovery code can.") from None


def new_key() -> bytes:
    """The content of a first file."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n"


def read_vault(path: Path) -> Vault:
    """Raises SettingsError that says what to do when the file is missing or holds no key."""
    content = secret_files.read(path)
    if content is None:
        raise SettingsError(
            f"CARILLON_USERS_ENCRYPTION_KEY_FILE: there is no {path}. "
            "`carillon migrate` makes it; every users process needs the same file."
        )
    try:
        key = base64.b64decode(content.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise SettingsError(f"CARILLON_USERS_ENCRYPTION_KEY_FILE: {path} holds no key of {_KEY_BYTES} bytes in base64.")
    return Vault(key)
