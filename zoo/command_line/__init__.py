"""The command line: flags to a command, the model that they start from, and exit codes."""
