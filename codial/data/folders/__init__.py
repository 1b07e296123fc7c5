"""How a folder of images is understood, from the list of its files: splits, classes, and what is passed over."""
