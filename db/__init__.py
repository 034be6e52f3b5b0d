"""The record of everything: images waiting, scores, thresholds, cases, reviews, model versions."""
