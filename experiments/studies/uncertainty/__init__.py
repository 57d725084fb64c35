"""Studies of what is not known beforehand."""
