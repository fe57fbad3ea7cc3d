"""A local AWS for Keelson's tests: moto plus the EKS and EC2 behaviour that it lacks."""
