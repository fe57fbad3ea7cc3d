//! Schemas that several fields share and that Rust types do not express. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// Default of booleans that default to true.
pub(super) fn default_true() -> bool {
    true
}

/// An object without a schema.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 200, "x-kubernetes-preserve-unknown-fields": true})
}

/// An IAM policy document: an object with `Statement` and, mostly, `Version` and `Id`.
pub(super) fn policy_document(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 3, "x-kubernetes-preserve-unknown-fields": true})
}

/// A `u8`: the API server has no such format.
pub(super) fn small_number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32"})
}

fn strings(max_properties: u32, max_length: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": max_properties,
        "additionalProperties": {"type": "string", "maxLength": max_length},
    })
}

/// User tags: AWS allows 50 on a resource, of which Keelson needs some.
pub(super) fn tags(_: &mut SchemaGenerator) -> Schema {
    strings(40, 256)
}

/// Tags of an Auto Scaling group: AWS allows 50, of which EKS sets five.
pub(super) fn auto_scaling_group_tags(_: &mut SchemaGenerator) -> Schema {
    strings(45, 256)
}

/// Enforced tags: few, because they are added to the object's.
pub(super) fn enforced_tags(_: &mut SchemaGenerator) -> Schema {
    strings(10, 256)
}

/// Tags of a selector.
pub(super) fn tag_selector(_: &mut SchemaGenerator) -> Schema {
    let mut schema = strings(10, 256);
    schema.insert("minProperties".into(), 1.into());
    schema
}

/// Labels of a Fargate selector: EKS allows five.
pub(super) fn fargate_labels(_: &mut SchemaGenerator) -> Schema {
    strings(5, 63)
}

/// Claims of tokens, with their values.
pub(super) fn required_claims(_: &mut SchemaGenerator) -> Schema {
    strings(20, 256)
}

/// Labels of a registered cluster.
pub(super) fn registration_labels(_: &mut SchemaGenerator) -> Schema {
    strings(10, 63)
}

/// Kubernetes labels of nodes.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    strings(50, 63)
}

/// Annotations of a Job: few, because rules about a list's items cost the API server much.
pub(super) fn job_annotations(_: &mut SchemaGenerator) -> Schema {
    strings(10, 1024)
}

/// Labels of a selector.
pub(super) fn selector_labels(_: &mut SchemaGenerator) -> Schema {
    strings(10, 63)
}

/// A decimal number.
pub(super) fn number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "number"})
}

/// A number from 1, or a percentage. The API server cannot bound the cost of a CEL rule on it.
pub(super) fn number_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 200,
        "maxLength": 4,
        "pattern": "^(100|[1-9][0-9]?)%$",
    })
}

/// Conditions, merged by type.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut item = Condition::json_schema(generator);
    item.remove("title");
    // The limits of Kubernetes' own conditions; its descriptions are written for authors of controllers.
    let fields = [
        ("type", Some(316), "Type of the condition, such as `Ready`."),
        ("status", Some(16), "`True`, `False` or `Unknown`."),
        ("reason", Some(1024), "Why it has this status, as one word for programs, such as `Upgrading`."),
        ("message", Some(32768), "Why it has this status, for people."),
        ("lastTransitionTime", None, "When the status changed last."),
        ("observedGeneration", None, "Generation of the spec that the condition describes."),
    ];
    for (field, most, description) in fields {
        if let Some(property) =
            item.get_mut("properties").and_then(|all| all.get_mut(field)).and_then(Value::as_object_mut)
        {
            property.insert("description".into(), description.into());
            if let Some(most) = most {
                property.insert("maxLength".into(), most.into());
            }
        }
    }
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
