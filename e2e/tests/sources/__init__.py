"""What the tests of Flux's sources need and no package brings: secrets as age and SOPS encrypt them, signatures, a GitHub."""
