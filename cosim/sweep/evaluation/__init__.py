"""A run out of sample: what was decided, solved by OpenDSS on fresh draws of what errs."""
