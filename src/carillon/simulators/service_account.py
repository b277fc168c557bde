"""The push simulator's service account: made once, read by the push worker as it would read a real one."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from carillon.kit.settings import SettingsError

PROJECT = "carillon-local"
TOKEN_PATH = "/simulators/fcm/token"  # noqa: S105 - a path, no secret


def ensure_service_account(path: Path, base_url: str) -> None:
    """Make the file (mode 0600), or keep its key and lead it to `base_url`; anything unreadable is made anew."""
    token_uri = f"{base_url.rstrip('/')}{TOKEN_PATH}"
    try:
        account = read_service_account(path)
        load_public_key(account)
    except SettingsError:
        account = _made()
    if account.get("token_uri") != token_uri:
        _write(path, {**account, "token_uri": token_uri})


def read_service_account(path: Path) -> dict[str, Any]:
    """Raises SettingsError with what to do."""
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"CARILLON_SIMULATORS_SIMULATED_ACCOUNT_FILE: {path}: {error.strerror}. `carillon up` makes it."
        ) from None
    except ValueError:
        account = None
    if not isinstance(account, dict) or not {"project_id", "client_email", "private_key"} <= account.keys():
        raise SettingsError(f"CARILLON_SIMULATORS_SIMULATED_ACCOUNT_FILE: {path} is no service account; delete it.")
    return account


def load_public_key(account: dict[str, Any]) -> rsa.RSAPublicKey:
    """Raises SettingsError where the account holds no RSA key."""
    try:
        key = serialization.load_pem_private_key(str(account["private_key"]).encode(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SettingsError("CARILLON_SIMULATORS_SIMULATED_ACCOUNT_FILE: its private_key is no RSA key; delete it.")
    return key.public_key()


def _made() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": f"carillon@{PROJECT}.iam.gserviceaccount.com",
        "client_id": str(secrets.randbelow(10**21)),
    }


def _write(path: Path, account: dict[str, Any]) -> None:
    """Whole or not at all: written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(account, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
