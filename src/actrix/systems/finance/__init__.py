"""Systems that manage money."""
