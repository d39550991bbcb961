"""Commands for one thing each, under the names that programs know."""
