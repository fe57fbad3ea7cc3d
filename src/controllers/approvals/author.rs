//! Finds who wrote an annotation: an approval, for the event, or a hold. I/O: reads the object's metadata at each new one.

use std::collections::BTreeMap;
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
        ApprovedBy::Annotation(key) => of_annotation(key, &read_managed_fields(ctx, object).await),
    }
}

/// The field managers that wrote these annotations, as far as the API server knows.
pub async fn read_authors<K: Kind>(ctx: &Context, object: &K, annotations: &[String]) -> BTreeMap<String, String> {
    let managed = read_managed_fields(ctx, object).await;
    let author = |key: &String| Some((key.clone(), managers(key, &managed)?));
    annotations.iter().filter_map(author).collect()
}

async fn read_managed_fields<K: Kind>(ctx: &Context, object: &K) -> Vec<ManagedFieldsEntry> {
    let api = K::api(&ctx.client, object.namespace().as_deref());
    match tokio::time::timeout(TIMEOUT, api.get_metadata(&object.name_any())).await {
        Ok(Ok(found)) => found.metadata.managed_fields.unwrap_or_default(),
        // The author is only informational and must not cause a delay.
        Ok(Err(_)) | Err(_) => Vec::new(),
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
    let by = managers(key, managed).unwrap_or_else(|| "unknown".to_owned());
    format!("the annotation {key}, written by the field manager {by}")
}

/// The field managers of an annotation.
fn managers(key: &str, managed: &[ManagedFieldsEntry]) -> Option<String> {
    let pointer = format!("/f:metadata/f:annotations/f:{}", key.replace('~', "~0").replace('/', "~1"));
    let wrote = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&pointer).is_some())
    };
    let managers: Vec<_> = managed.iter().filter(wrote).filter_map(|entry| entry.manager.as_deref()).collect();
    (!managers.is_empty()).then(|| managers.join(", "))
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
