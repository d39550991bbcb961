"""PostgreSQL as a sink: tables with typed columns, the position of the feed in the transaction of the rows."""
