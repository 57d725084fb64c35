"""Who solves a program: quadratic, linear and mixed-integer solvers behind one contract each."""
