"""The switch from one model version to another: comparison, quality gate, promotion, rollback."""
