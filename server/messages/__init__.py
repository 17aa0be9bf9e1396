"""Values that travel between modules and processes; no behaviour beyond reading and printing themselves."""
