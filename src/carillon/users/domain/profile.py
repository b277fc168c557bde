"""What people say of themselves, changed in part: a JSON merge patch (RFC 7396)."""

from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from carillon.contracts.quiet_hours import known_zones
from carillon.kit.errors import invalid
from carillon.users.domain.people import checked_attributes


@dataclass(frozen=True, slots=True)
class Profile:
    """All that a profile's patch may change."""

    name: str
    locale: str | None
    timezone: str | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePatch:
    """What is unset stays as it is."""

    name: str | UnsetType = UNSET
    locale: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET

    @property
    def fields(self) -> list[str]:
        """The names of what is given."""
        return [name for name in ("name", "locale", "timezone", "attributes") if getattr(self, name) is not UNSET]


def checked_patch(patch: ProfilePatch) -> ProfilePatch:
    """Raises Invalid for what no profile could take, whatever it is now."""
    if isinstance(patch.timezone, str):
        checked_timezone(patch.timezone)
    if isinstance(patch.attributes, dict):
        checked_attributes(patch.attributes)
    return patch


def checked_timezone(name: str) -> str:
    """Raises Invalid for what is no time zone."""
    if name in known_zones():
        return name
    raise invalid("timezone", "Expected a name of the IANA time zone database, such as Europe/Paris.")


def patched(kept: Profile, patch: ProfilePatch) -> Profile:
    """The profile afterwards. Raises Invalid where the attributes have become too many."""
    attributes = kept.attributes
    if patch.attributes is None:
        attributes = {}
    elif patch.attributes is not UNSET:
        attributes = checked_attributes(merged(kept.attributes, patch.attributes))
    return Profile(
        kept.name if patch.name is UNSET else patch.name,
        kept.locale if patch.locale is UNSET else patch.locale,
        kept.timezone if patch.timezone is UNSET else patch.timezone,
        attributes,
    )


def merged(kept: Any, patch: Any) -> Any:
    """RFC 7396: null takes a member away, an object changes members, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(kept) if isinstance(kept, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
