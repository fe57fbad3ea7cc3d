//! Finds who approved, for the event. I/O: reads the object's metadata at each approval by annotation.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;

use crate::api::PlanApproval;
use crate::controllers::context::Context;
use crate::controllers::runtime::apply::Kind;

/// An API server that does not answer must not delay approvals for long.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// How an approval was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovedBy<'a> {
    /// By the PlanApproval of this UID.
    Object(&'a str),
    /// By this annotation.
    Annotation(&'a str),
}

/// Describes the approver: the user that admission verified, or the field manager that wrote the annotation.
pub async fn describe_author<K: Kind>(ctx: &Context, object: &K, approval: ApprovedBy<'_>) -> String {
    match approval {
        ApprovedBy::Object(uid) => match ctx.approvals.by_uid(uid) {
            Some(approval) => of_object(&approval),
            None => format!("a deleted PlanApproval (UID {uid})"),
        },
        ApprovedBy::Annotation(key) => {
            let api = K::api(&ctx.client, object.namespace().as_deref());
            let read = tokio::time::timeout(TIMEOUT, api.get_metadata(&object.name_any())).await;
            let managed = match read {
                Ok(Ok(found)) => found.metadata.managed_fields.unwrap_or_default(),
                // The author is only informational and must not cause a delay.
                Ok(Err(_)) | Err(_) => Vec::new(),
            };
            of_annotation(key, &managed)
        }
    }
}

fn of_object(approval: &PlanApproval) -> String {
    let name = approval.name_any();
    match &approval.spec.approved_by {
        Some(user) => format!("{user} (PlanApproval {name})"),
        None => format!("PlanApproval {name}, which has no approvedBy"),
    }
}

fn of_annotation(key: &str, managed: &[ManagedFieldsEntry]) -> String {
    let pointer = format!("/f:metadata/f:annotations/f:{}", key.replace('~', "~0").replace('/', "~1"));
    let wrote = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&pointer).is_some())
    };
    let managers: Vec<_> = managed.iter().filter(wrote).filter_map(|entry| entry.manager.as_deref()).collect();
    let by = if managers.is_empty() { "unknown".to_owned() } else { managers.join(", ") };
    format!("the annotation {key}, written by the field manager {by}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotation_author_is_its_field_manager() {
        let entry = |manager: &str, annotation: &str| -> ManagedFieldsEntry {
            let fields = json!({"f:metadata": {"f:annotations": {".": {}, format!("f:{annotation}"): {}}}});
            serde_json::from_value(json!({"manager": manager, "operation": "Update", "fieldsV1": fields})).unwrap()
        };
        let managed = [entry("kustomize-controller", "a"), entry("kubectl-annotate", "keelson.dev/approve")];
        let text = of_annotation("keelson.dev/approve", &managed);
        assert_eq!(text, "the annotation keelson.dev/approve, written by the field manager kubectl-annotate");
        assert!(of_annotation("keelson.dev/approve", &[]).contains("field manager unknown"));
    }

    #[test]
    fn plan_approval_author_is_its_approved_by_user() {
        let approval = |spec| -> PlanApproval {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "PlanApproval", "metadata": {"name": "a"}, "spec": spec,
            }))
            .unwrap()
        };
        let named = approval(json!({"hash": "9f86d081884c7d65", "approvedBy": "jane@example.com"}));
        assert_eq!(of_object(&named), "jane@example.com (PlanApproval a)");
        assert!(of_object(&approval(json!({"hash": "9f86d081884c7d65"}))).contains("has no approvedBy"));
    }
}
