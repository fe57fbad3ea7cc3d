"""The Helm chart: what it renders, and a value other than the default for each of its values."""
