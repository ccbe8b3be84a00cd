"""Coloured cups: how a class is doing, from phones to a teacher's notebook. Imports neither fastai nor torch."""
