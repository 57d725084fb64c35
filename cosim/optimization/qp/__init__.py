"""Parametric quadratic programs as matrices: statement, reading from Pyomo, presolve, decomposition into blocks."""
