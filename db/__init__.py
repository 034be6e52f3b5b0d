"""The record in SQL: images, scores, thresholds, cases, reviews, model versions; admin commands and the console."""
