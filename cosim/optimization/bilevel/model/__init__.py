"""The single-level statement of a bilevel problem: optimality conditions, settlement, certificate."""
