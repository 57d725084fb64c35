"""Import of OpenDSS circuits: read what OpenDSS solved, and say it in the words of our tables."""
