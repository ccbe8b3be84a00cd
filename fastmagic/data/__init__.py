"""Data: where photos come from, how they become a fastai `DataLoaders`, and what is wrong with them."""
