"""Chapter 15 on the UCI tables: downloads, splits, trials, and what the paper's submission printed."""
