"""Histories on object storage, with a copy on this machine; start reading at `mirror`.

`object_store` reads and writes objects, `mirror` writes to the copy and the store, `sync` brings the copy up to date,
and `lease` lets one machine at a time write a run.
"""
