"""Branch and bound over complementarities, with Lagrangian bounds where the problem falls into blocks."""
