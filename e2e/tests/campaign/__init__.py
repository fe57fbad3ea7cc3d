"""The destructive-edit campaign: what people and templates do to manifests, made from the CRDs' own schema.

`schema` walks it, `edits` makes the edits, `manifests` has the specs that are edited, `admission` asks the API server,
`player` has the operator carry out what was taken, `judge` says whether each ended well. `test_campaign.py` runs it.
"""
