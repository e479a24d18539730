"""Who may ask, and how often: the names that a request may call the server by, and requests a minute."""

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

MINUTE = 60.0  # seconds
CLIENTS = 10_000  # clients that are remembered
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]]+)(:\d+)?", re.IGNORECASE)


class RateLimit:
    """At most ``per_minute`` requests of a client a minute, by the generic cell rate algorithm (ITU-T I.371, annex A).

    A client who has not asked for a minute may ask ``per_minute`` times at once; each request then becomes possible
    again after 60 / per_minute seconds.  One number is kept a client: when it could ask ``per_minute`` times again.
    Of more than ``CLIENTS`` clients, those who asked longest ago are forgotten.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = 0.0 if per_minute is None else MINUTE / per_minute
        self.clock = clock
        self.rested: OrderedDict[str, float] = OrderedDict()

    def wait(self, client: str) -> float:
        """0 if the client may ask now, which is counted; otherwise the seconds until it may."""
        now, client = self.clock(), network(client)
        rested = max(self.rested.get(client, now), now)
        wait = rested + self.interval - now - MINUTE
        if wait > 1e-6:
            return wait
        self.rested[client] = rested + self.interval
        self.rested.move_to_end(client)
        if len(self.rested) > CLIENTS:
            self.rested.popitem(last=False)
        return 0.0


def network(client: str) -> str:
    """What a client can change at will is left out of its address: the last 64 bits of IPv6."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def is_loopback(address: str) -> bool:
    """Whether an address is reachable from this computer alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def allowed_names(names: Sequence[str], address: str) -> set[str] | None:
    """The names that a request may have as its Host, in lower case; None: any.

    ``names`` where there are any.  Otherwise a server on a loopback address has those of this computer alone: a page
    from anywhere could let its own name point to 127.0.0.1 and would then share the server's origin in the browser
    (DNS rebinding), but the name stands in the Host of its requests.
    """
    if names:
        return {name.lower() for name in names}
    if not is_loopback(address):
        return None
    return {"localhost", "127.0.0.1", "[::1]", f"[{address}]" if ":" in address else address}


def host_name(header: str) -> str | None:
    """The name in a Host header, in lower case and without the port; None for what is no such header."""
    found = HOST.fullmatch(header.strip())
    return found["name"].lower().removesuffix(".") if found else None
