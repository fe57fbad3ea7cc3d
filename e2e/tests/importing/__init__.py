"""Clusters as Terraform's module and Cluster API create them, and what these two then write down about them."""
