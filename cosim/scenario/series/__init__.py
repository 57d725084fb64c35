"""Time series: from a file, a list or a constant to a value for each step of the market."""
