"""Takes queued jobs, runs each in a process of its own, and reports to the job store."""
