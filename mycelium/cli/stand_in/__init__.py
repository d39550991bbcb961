"""A directory for a module path: what lies here stands in for modules of other names. Import nothing from it."""
