"""The envelope that every answer wears, for those who decode answers."""

from carillon.kit.http.envelope import Envelope, ErrorEnvelope, PageMeta

__all__ = ["Envelope", "ErrorEnvelope", "PageMeta"]
