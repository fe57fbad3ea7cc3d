"""A local AWS for Keelson's tests: moto, with the EKS and EC2 behaviour it lacks."""
