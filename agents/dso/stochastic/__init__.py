"""Clearing over scenarios of what may happen: the demand is agreed on before, the dispatch follows what happens."""
