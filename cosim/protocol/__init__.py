"""Who says what to whom: the roles of agents, their messages, and the channel that carries them."""
