"""Simulated patients, for when no data set is at hand. Nobody's data, and labelled so in every message and image.

They show that the system runs. Their trajectories are drawn by hand: nothing about a model's quality can be read
off them.
"""
