"""Studies: each states a question, runs what answers it, and fills its conclusion from its tables."""
