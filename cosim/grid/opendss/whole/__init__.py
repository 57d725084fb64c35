"""An OpenDSS circuit as it is: its admittance matrix, what is drawn at its nodes, and names for all of it."""
