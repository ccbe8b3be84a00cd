"""The checks, by what they look at: files, labels and split, copies; and the mending."""
