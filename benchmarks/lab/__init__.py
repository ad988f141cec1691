"""What the benchmarks share: a mock upstream, a bare hop, request bodies, a load generator, processes and their CPU."""
