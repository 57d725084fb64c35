"""What a feeder is: tables, phases, connections, controls, and the checks that its tables must pass."""
