"""Feasible points of a bilevel problem: critical regions of the follower and local searches among them."""
