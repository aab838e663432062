"""One file per system, in a folder per family: the only place where a paper's idea lives."""
