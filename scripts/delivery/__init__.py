"""Benchmarks of what waits in the queue and of destinations."""
