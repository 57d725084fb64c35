"""How far a run is: a file beside what it writes while it is under way, and what who follows it reads there."""
