"""Which network addresses stay on this machine: what decides whether plaintext may be spoken."""

import ipaddress


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address, an IPv6 one in brackets or not, can only mean this very machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
