"""Agent-based co-simulation of data centers and the distribution grid."""
