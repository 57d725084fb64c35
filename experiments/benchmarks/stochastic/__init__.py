"""Stochastic clearing beside others: the extensive form by another solver, growth with scenarios, a large feeder."""
