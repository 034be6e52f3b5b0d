"""Pages for leads and auditors: quality, one reviewer or policy, and exports."""
