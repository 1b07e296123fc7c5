"""The paper's numbers, our runs' numbers, and the differences in data and scale between them."""
