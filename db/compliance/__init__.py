"""What the law asks platforms to say of decisions: exports, statements of reasons, counts by period."""
