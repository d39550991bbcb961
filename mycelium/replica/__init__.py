"""A read replica: a verified copy of a network's spaces, made from their streams alone, that serves reads."""
