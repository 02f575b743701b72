"""The API, the job store, the Python client and the command line; loads no numerical library."""
