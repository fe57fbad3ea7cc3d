"""EC2's answers: moto's, with guards in front."""

from __future__ import annotations

from moto.ec2.responses import EC2Response


class Ec2Response(EC2Response):
    pass
