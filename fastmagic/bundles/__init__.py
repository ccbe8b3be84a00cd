"""Models that travel: a learner as weights and words, from which it is built again without running what a stranger wrote."""
