"""`NO_PROXY` and its relatives, read as Go's clients read them (golang.org/x/net/http/httpproxy)."""

from __future__ import annotations

import pytest

from hybridsync.kubernetes.proxies import proxy_for

PROXY = "http://proxy.example.org:3128"


@pytest.mark.parametrize(
    ("excluded", "url"),
    [
        ("10.0.0.0/8", "https://10.1.2.3:6443/api"),
        ("192.168.0.0/16, 10.0.0.0/8", "https://10.1.2.3/"),
        ("fd00::/8", "https://[fd12::1]:6443/"),
        ("*", "https://api.example.org/"),
        ("a.example.net,*", "https://api.example.org/"),
        ("example.org", "https://example.org/"),
        ("example.org", "https://api.example.org/"),
        (".example.org", "https://api.example.org/"),
        ("*.example.org", "https://api.example.org/"),
        ("API.Example.Org", "https://api.example.org/"),
        ("api.example.org:6443", "https://api.example.org:6443/"),
        ("api.example.org:443", "https://api.example.org/"),
        ("10.1.2.3", "https://10.1.2.3:6443/"),
        ("10.1.2.3:6443", "https://10.1.2.3:6443/"),
        ("[fd12::1]:6443", "https://[fd12::1]:6443/"),
        ("fd12::1", "https://[fd12:0::1]:6443/"),
        ("", "https://localhost:6443/"),
        ("", "https://127.0.0.1:6443/"),
        ("", "https://[::1]:6443/"),
    ],
)
def test_what_is_excluded_takes_no_proxy(excluded: str, url: str) -> None:
    assert proxy_for(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": excluded}) is None
    assert proxy_for(url, {"https_proxy": PROXY, "no_proxy": excluded}) is None


@pytest.mark.parametrize(
    ("excluded", "url"),
    [
        ("", "https://api.example.org/"),
        ("10.0.0.0/8", "https://11.0.0.1/"),
        ("10.0.0.0/8", "https://api.example.org/"),
        ("10.0.0.0/8", "https://[fd12::1]/"),
        (".example.org", "https://example.org/"),
        ("ample.org", "https://example.org/"),
        ("api.example.org:443", "https://api.example.org:6443/"),
        ("10.1.2.3:443", "https://10.1.2.3:6443/"),
        ("a*b, not/a/network, :80, ,", "https://api.example.org/"),
    ],
)
def test_everything_else_takes_it(excluded: str, url: str) -> None:
    assert proxy_for(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": excluded}) == PROXY


def test_each_scheme_has_its_own_and_a_proxy_may_be_named_without_one() -> None:
    environment = {"HTTP_PROXY": "plain.example.org:80", "HTTPS_PROXY": PROXY}
    assert proxy_for("http://api.example.org/", environment) == "http://plain.example.org:80"
    assert proxy_for("https://api.example.org/", environment) == PROXY
    assert proxy_for("https://api.example.org/", {"HTTP_PROXY": PROXY}) is None
    assert proxy_for("https://api.example.org/", {}) is None
