"""`make demo-fleet`: one commit raises the version of six clusters, wave by wave; a cluster fails, the rollout halts, and goes on once it is corrected."""
