"""The token by which this process is known to the other services."""

from pathlib import Path

from carillon.contracts.users import OPAQUE_PREFIX
from carillon.kit.settings import SettingsError, variable


def own_token(path: Path, service: str) -> str:
    """What the file holds: one line. Raises SettingsError with what to do when there is nothing of that kind."""
    name = variable(service, "token_file")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"{name}: {path} cannot be read ({why}). `carillon migrate` makes it.") from None
    if not token:
        raise SettingsError(f"{name}: {path} is empty. `carillon migrate` writes it anew.")
    if not (token.startswith(OPAQUE_PREFIX) and token.isascii() and token.isprintable() and " " not in token):
        raise SettingsError(
            f"{name}: {path} holds no token, which is one line that begins with {OPAQUE_PREFIX}. "
            "Remove the file; `carillon migrate` writes it anew."
        )
    return token
