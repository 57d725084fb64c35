"""Benchmarks of the network: linear models against AC power flow, prices, growth, and a peer."""
