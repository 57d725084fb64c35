"""Mixed-integer formulations of a bilevel problem."""
