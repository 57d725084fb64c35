"""Interactive pages: HTML files to look at a run or a comparison, with a map, a time slider and tables."""
