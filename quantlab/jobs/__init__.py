"""A job file and the run folder it fills."""
