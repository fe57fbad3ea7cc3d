"""What the end-to-end tests of the operator share: manifests, a reader of AWS, and the stage both play on."""

API = "keelson.dev/v1alpha1"
