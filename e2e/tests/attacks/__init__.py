"""Attacks, one file per kind: the attacker is a tenant with exactly the roles that `deploy/` ships."""
