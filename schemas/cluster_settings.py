"""Settings of the user's configuration file that name a cluster; no problem and no run has them."""

from __future__ import annotations

from pydantic import Field

from schemas.section import Section


class ClusterSettings(Section):
    """The cluster of a user, `[cluster]` in the configuration file."""

    address: str = Field(
        default="",
        description="cluster that nights evaluate on, such as `tls://head:8786`, or `local:N` for a try; the flag "
        "`--cluster` and the variable OVERNIGHT_CLUSTER come first",
    )
    certificates: str = Field(
        default="",
        description="folder of the certificates, relative to the configuration file; the variable "
        "OVERNIGHT_CLUSTER_CERTIFICATES comes first",
    )
