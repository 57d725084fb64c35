"""AC power flow of a feeder in OpenDSS, its controls, its admittance matrix, and the import of circuits."""
