"""Studies of hosting: capacities from hourly limits, tables, figures, a report."""
