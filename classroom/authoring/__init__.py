"""Sets as an author writes them, student versions, a learner's workbook."""
