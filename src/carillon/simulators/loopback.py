"""Who asks from this machine, under one of this machine's own names: what asks for no token is shown to nobody else."""

from ipaddress import ip_address

from carillon.kit.http.access import ApiRequest


def is_asked_from_here(request: ApiRequest) -> bool:
    """The name in `Host` is checked as well, so that no web page can lead a browser here under a name of its own."""
    here = request.client is not None and _is_loopback(request.client.host)
    return here and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
