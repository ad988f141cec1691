"""The door through which authors of stages test."""

import inspect

from trimtab import bench, conformance, testing


def test_it_offers_the_bench_and_the_kit() -> None:
    assert testing.StageBench is bench.StageBench
    assert testing.conform is conformance.conform
    assert all(inspect.getdoc(getattr(testing, name)) for name in testing.__all__ if name != "LAWS")
