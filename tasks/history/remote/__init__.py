"""Histories on object storage, with a copy on this machine; start reading at `backend`.

`backend` writes to the store before the copy, `mirror` finds and marks the copy, `sync` brings it up to date,
`object_store` reads and writes objects, and `lease` lets one machine at a time write a run.
"""
