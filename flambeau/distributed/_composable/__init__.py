"""Ways of spreading modules over processes, under their older path."""
