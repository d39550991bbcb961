"""A fleet: several node processes on several machines for one account, which share its spaces slot by slot."""
