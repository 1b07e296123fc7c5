"""Side-by-side measurements against what one would use instead; `make bench` runs them all."""
