"""What templates are given: facts chosen and worded for people, one subject a file."""
