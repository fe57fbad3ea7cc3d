"""IAM responses: moto's, plus IAM's validation of trust policies on write."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from typing import Any

from moto.core.responses import ActionResult
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend, User
from moto.iam.responses import IamResponse as MotoIamResponse

from . import simulation
from .accounts import administrator
from .cloud import account_of, as_list, find_role, find_user
from .errors import AwsError

PRINCIPAL = re.compile(r"\d{12}|arn:aws:iam::\d{12}:root|\*")


MAX_TAGS = 50
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MAX_ATTACHED = 10
MAX_INLINE_CHARACTERS = 10_240


def without_keys(tags: list[dict[str, str]], keys: list[str]) -> list[dict[str, str]]:
    """To IAM, keys that differ only in case are one key (aws/aws-cdk#26253)."""
    removed = {key.lower() for key in keys}
    return [tag for tag in tags if tag["Key"].lower() not in removed]


@cache
def managed_policies() -> list[AWSManagedPolicy]:
    """AWS managed policies, parsed once."""
    return [AWSManagedPolicy.from_data(name, "", "aws", data) for name, data in json.loads(aws_managed_policies_data).items()]


def init_aws_policies(self: IAMBackend) -> list[AWSManagedPolicy]:
    """Copies of the policies for one account, which has its own attachment counts; the documents are shared."""
    policies = []
    for template in managed_policies():
        policy = copy.copy(template)
        policy.account_id = self.account_id
        policies.append(policy)
    return policies


def apply() -> None:
    """Replaces moto's loader, which parses three megabytes of policies for each account."""
    IAMBackend._init_aws_policies = init_aws_policies  # type: ignore[method-assign,assignment]
    managed_policies()


class IamResponse(MotoIamResponse):
    def create_role(self) -> ActionResult:
        check_trust_policy(self._get_param("AssumeRolePolicyDocument"))
        return super().create_role()

    def update_assume_role_policy(self) -> ActionResult:
        check_trust_policy(self._get_param("PolicyDocument"))
        return super().update_assume_role_policy()

    def put_role_policy(self) -> ActionResult:
        role = self.backend.get_role(self._get_param("RoleName"))
        name, document = self._get_param("PolicyName"), self._get_param("PolicyDocument")
        check_role_policy(document)
        others = (text for other, text in role.policies.items() if other != name)
        if sum(map(characters, (*others, document))) > MAX_INLINE_CHARACTERS:
            raise AwsError("LimitExceeded", f"Maximum policy size of {MAX_INLINE_CHARACTERS} bytes exceeded for role {role.name}", 409)
        return super().put_role_policy()

    def attach_role_policy(self) -> ActionResult:
        role = self.backend.get_role(self._get_param("RoleName"))
        if self._get_param("PolicyArn") not in role.managed_policies and len(role.managed_policies) >= MAX_ATTACHED:
            raise AwsError("LimitExceeded", f"Cannot exceed quota for PoliciesPerRole: {MAX_ATTACHED}", 409)
        return super().attach_role_policy()

    def tag_role(self) -> ActionResult:
        role = self.backend.get_role(self._get_param("RoleName"))
        kept = without_keys(role.tags, [tag["Key"] for tag in self._get_param("Tags", [])])
        if len(kept) + len(self._get_param("Tags", [])) > MAX_TAGS:
            raise AwsError("LimitExceeded", f"The number of tags has reached the maximum limit: {MAX_TAGS}.", 409)
        reply = super().tag_role()
        role.tags = [*kept, *self._get_param("Tags", [])]
        return reply

    def untag_role(self) -> ActionResult:
        role = self.backend.get_role(self._get_param("RoleName"))
        reply = super().untag_role()
        role.tags = without_keys(role.tags, self._get_param("TagKeys", []))
        return reply

    def add_client_id_to_open_id_connect_provider(self) -> ActionResult:
        audiences = self.audiences()
        # Idempotent, as documented by IAM.
        if self._get_param("ClientID") not in audiences:
            audiences.append(self._get_param("ClientID"))
        return ActionResult({})

    def remove_client_id_from_open_id_connect_provider(self) -> ActionResult:
        audiences = self.audiences()
        if self._get_param("ClientID") in audiences:
            audiences.remove(self._get_param("ClientID"))
        return ActionResult({})

    def get_user(self) -> ActionResult:
        """Also returns the administrator user behind static keys."""
        name = self._get_param("UserName")
        if administrator(self.current_account).arn.endswith(f":user/{name}") and name not in self.backend.users:
            return ActionResult({"User": User(self.current_account, region_name=self.region, name=name)})
        return super().get_user()

    def simulate_principal_policy(self) -> ActionResult:
        entries = self._get_param("ContextEntries") or []
        context = {entry["ContextKeyName"]: as_list(entry.get("ContextKeyValues")) for entry in entries}
        names, resources = self._get_param("ActionNames") or [], self._get_param("ResourceArns") or []
        results = simulation.simulate(self._get_param("PolicySourceArn"), names, resources, context)
        return ActionResult({"EvaluationResults": results, "IsTruncated": False})

    def audiences(self) -> list[str]:
        arn = self._get_param("OpenIDConnectProviderArn")
        provider = self.backend.open_id_providers.get(arn)
        if provider is None:
            raise AwsError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", 404)
        return provider.client_id_list  # type: ignore[no-any-return]


def check_trust_policy(text: str | None) -> None:
    try:
        document = json.loads(text or "")
    except ValueError as error:
        raise malformed("This policy contains invalid Json") from error
    statements = as_list(document.get("Statement")) if isinstance(document, dict) else []
    if not statements:
        raise malformed("Could not parse the policy: Statement is empty!")
    for statement in statements:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny") or not statement.get("Action"):
            raise malformed("Syntax errors in policy.")
        if "Resource" in statement:
            raise malformed("Has prohibited field Resource")
        principal = statement.get("Principal")
        if principal is None and "NotPrincipal" not in statement:
            raise malformed("Missing required field Principal")
        for name in as_list(principal.get("AWS")) if isinstance(principal, dict) else []:
            if not exists(str(name)):
                raise malformed(f'Invalid principal in policy: "AWS":"{name}"')


def characters(document: str) -> int:
    """IAM does not count white space."""
    return len("".join(document.split()))


def check_role_policy(text: str) -> None:
    """A policy of a role names no principal; moto checks the rest."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise malformed("Syntax errors in policy.") from error
    for statement in as_list(document.get("Statement")) if isinstance(document, dict) else []:
        if isinstance(statement, dict) and ("Principal" in statement or "NotPrincipal" in statement):
            raise malformed("Policy document should not specify a principal.")


def exists(name: str) -> bool:
    """Whether a principal is valid: an account, or an existing role or user."""
    if PRINCIPAL.fullmatch(name):
        return True
    if ":assumed-role/" in name:
        return True
    known: Any = find_role(name) or find_user(name)
    return known is not None or name == administrator(account_of(name)).arn


def malformed(message: str) -> AwsError:
    return AwsError("MalformedPolicyDocument", message)
