"""What authors of stages test with: a chain and its exchanges, without a server, a network or a clock.

async def test_it_shortens(bench):
    async with StageBench(Shorten(ShortenOptions(limit=10))) as bench:
        exchange = bench.exchange({"model": "m", "messages": [{"role": "user", "content": "x" * 99}]})
        await bench.request(exchange)
        assert bench.sent(exchange)["messages"][0]["content"] == "x" * 10
"""

from trimtab.bench import StageBench, StillClock, table
from trimtab.conformance import LAWS, Report, conform

__all__ = ["LAWS", "Report", "StageBench", "StillClock", "conform", "table"]
