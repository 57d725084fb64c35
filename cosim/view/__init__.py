"""A folder of results in the browser: a server that lists, opens, compares and follows, and never writes."""
