"""What a job did, as facts: for machines (JSON) and for people (a table, a page)."""
