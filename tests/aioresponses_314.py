"""aioresponses 0.7.9 beside aiohttp 3.14.

aiohttp 3.14 made `stream_writer` a required argument of ClientResponse; aioresponses does not know it yet and fails
with a TypeError (its issue 289). Give `response_class=Response314` until a test in
tests/proxy/upstream/test_pool.py says that it is unneeded.
"""

from types import SimpleNamespace
from typing import Any

from aiohttp import ClientResponse
from yarl import URL


class Response314(ClientResponse):
    """A mocked response that brings the missing argument along: a writer that wrote nothing."""

    def __init__(self, method: str, url: URL, **arguments: Any) -> None:
        super().__init__(method, url, **{"stream_writer": SimpleNamespace(output_size=0), **arguments})
