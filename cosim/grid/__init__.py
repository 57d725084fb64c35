"""The distribution grid: what a feeder is, its linear power flow, and its AC power flow in OpenDSS."""
