"""The processes of one run: ranks, their shares of a batch, and what happens when a rank is lost."""
