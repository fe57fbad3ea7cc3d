"""The destructive-edit campaign: edits as people and templates make them, generated from the CRDs' schema.

`schema` walks the schema, `edits` generates the edits, `manifests` has the specs to edit, `admission` asks the API server, `player`
has the operator apply the accepted edits, `judge` decides whether each outcome is correct. `test_campaign.py` runs it.
"""
