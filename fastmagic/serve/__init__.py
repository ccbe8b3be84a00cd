"""A notebook as a show: slides."""
