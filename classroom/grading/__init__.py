"""Scores, feedback and a table for a class."""
