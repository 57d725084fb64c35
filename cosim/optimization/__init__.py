"""Parametric quadratic programs, who solves them, and bilevel problems with such a program as the follower."""
