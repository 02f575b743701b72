"""What a job can do, one mode a file; each is the stages in an order of its own."""
