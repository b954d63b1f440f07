"""The instructor's product: release sets, take in what a class hands in, grade it.

It knows nothing of normalization: of ``companion`` it imports the module that observes an answer, and no more.
"""
