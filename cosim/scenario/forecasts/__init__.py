"""What is known of a scenario's series before they happen: forecasts of several kinds, and who sees them when."""
