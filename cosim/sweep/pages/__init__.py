"""Interactive pages of a sweep: all of its runs, and one of them."""
