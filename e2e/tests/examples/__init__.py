"""What the tests of examples/ need: existing resources, and agents whose reports are played."""
