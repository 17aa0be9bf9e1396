"""The command line: everything through server.client, one module per family of commands."""
