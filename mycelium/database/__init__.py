"""The replicated store: tables, log, version vectors, merge, watch, sync. Knows no socket."""
