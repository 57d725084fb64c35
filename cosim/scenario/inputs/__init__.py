"""What a run needs besides cosim: the files that a scenario names and code of a user's own, kept beside the results."""
