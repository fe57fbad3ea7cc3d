"""Attacks, one file for each kind: who tries is a tenant with exactly the roles that `deploy/` ships."""
