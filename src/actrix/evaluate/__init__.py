"""Episodes, scores, statistics, comparisons and the report. No module here needs torch."""
