//! Hostile texts in every field of status that takes a text, as the CRDs list them: on no page are they more than text. A field that is
//! added to a status is tested without a change here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use super::fleet::{Fleet, PageKind};
use super::id::{Id, Kind};
use super::tests::{ago, condition, html, landing, now};
use super::view;
use super::viewer::Viewer;
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup, Reason, crds};

/// What no browser must take for more than text.
const HOSTILE: &str =
    "'\"></title></script><script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>{{7*7}}";
/// In each round, fields with a list of values have another one of it. The longest has nine; some times are only in every other round.
const ROUNDS: usize = 18;

/// The schemas of the statuses of all kinds.
static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let schema = |crd: CustomResourceDefinition| {
        let crd = serde_json::to_value(crd).unwrap();
        let status = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status").unwrap();
        (crd["spec"]["names"]["kind"].as_str().unwrap().to_owned(), status.clone())
    };
    crds::all().into_iter().map(schema).collect()
});

/// A value of that schema in which every text is hostile. `texts`: the paths of these.
fn infected(schema: &Value, path: &str, round: usize, texts: &mut BTreeSet<String>) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
        return values[round % values.len()].clone();
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str()) {
        ("object", _) if schema["properties"].is_object() => infected_object(schema, path, round, texts),
        ("object", _) => {
            json!({ HOSTILE: infected(&schema["additionalProperties"], &format!("{path}{{}}"), round, texts) })
        }
        ("array", _) => {
            let path = format!("{path}[]");
            json!([round, round + 1].map(|round| infected(&schema["items"], &path, round, texts)))
        }
        ("integer", _) => json!(1),
        ("boolean", _) => json!(round.is_multiple_of(2)),
        ("string", Some("date-time")) => json!(ago(5)),
        ("string", None) => {
            texts.insert(path.to_owned());
            json!(HOSTILE)
        }
        other => panic!("{path} is {other:?}: which value has it here?"),
    }
}

fn infected_object(schema: &Value, path: &str, round: usize, texts: &mut BTreeSet<String>) -> Value {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut object = Map::new();
    for (name, field) in schema["properties"].as_object().unwrap() {
        let is_optional_time = field["format"] == "date-time" && !required.contains(&name.as_str());
        // Such as the end of a change: what is over is shown otherwise than what goes on.
        if round.is_multiple_of(2) || !is_optional_time {
            object.insert(name.clone(), infected(field, &format!("{path}.{name}"), round, texts));
        }
    }
    Value::Object(object)
}

/// The status of a kind, and the paths of its texts.
fn status(kind: Kind, round: usize) -> (Value, BTreeSet<String>) {
    let mut texts = BTreeSet::new();
    let mut status = infected(&SCHEMAS[kind.as_str()], "", round, &mut texts);
    // Conditions and resources are found by these names; the others remain.
    let states = ["False", "True", "Unknown"];
    let named = ["Ready", "Stalled", "Reconciling", "GitOpsReady", "Upgrading"].iter().enumerate();
    let named = named.map(|(number, kind)| {
        let known = Reason::ALL[(number + round) % Reason::ALL.len()].as_str();
        let reason = if round.is_multiple_of(2) { HOSTILE } else { known };
        condition(kind, states[(number + round) % states.len()], reason, HOSTILE, 30)
    });
    status["conditions"].as_array_mut().unwrap().extend(named);
    if kind == Kind::EksCluster {
        let keys = ["internetGateway".to_owned(), format!("natGateway/{HOSTILE}"), format!("vpcEndpoint/{HOSTILE}")];
        let resources = keys.map(|key| json!({"key": key, "id": HOSTILE}));
        status["resources"].as_array_mut().unwrap().extend(resources);
    }
    (status, texts)
}

fn add<K: PageKind>(fleet: &mut Fleet, metadata: &Value, spec: &Value, round: usize) {
    let object = json!({"metadata": metadata, "spec": spec, "status": status(K::KIND, round).0});
    fleet.apply(serde_json::from_value::<K>(object).unwrap(), now());
}

fn hostile_fleet(round: usize) -> Fleet {
    let mut fleet = Fleet::default();
    let metadata = |name: &str| json!({"name": name, "namespace": "team-a", "generation": 1, "labels": {"l": HOSTILE}, "annotations": {"a": HOSTILE}});
    let spec =
        json!({"region": HOSTILE, "version": HOSTILE, "clusterName": HOSTILE, "accountRef": {"name": "default"}});
    add::<EksCluster>(&mut fleet, &metadata("demo"), &spec, round);
    let spec = json!({"clusterRef": {"name": "demo"}, "instanceTypes": [HOSTILE], "scaling": {"min": 1, "max": 3}});
    add::<NodeGroup>(&mut fleet, &metadata("group"), &spec, round);
    let spec =
        json!({"accountId": HOSTILE, "roleArn": HOSTILE, "allowedNamespaces": [HOSTILE], "allowedRegions": [HOSTILE]});
    add::<AwsAccount>(&mut fleet, &json!({"name": "default"}), &spec, round);
    let spec = json!({"clusterSelector": {}, "waves": [{"name": "a"}]});
    add::<FleetRollout>(&mut fleet, &json!({"name": "main"}), &spec, round);
    for (kind, name, namespace) in [
        ("EksCluster", "demo", "team-a"),
        ("NodeGroup", "group", "team-a"),
        ("AwsAccount", "default", "default"),
        ("FleetRollout", "main", "default"),
    ] {
        let event = json!({
            "metadata": {"name": "e", "namespace": namespace, "uid": kind},
            "involvedObject": {"kind": kind, "name": name, "namespace": namespace},
            "type": "Warning", "reason": HOSTILE, "message": HOSTILE, "eventTime": ago(1).replace('Z', ".000000Z"),
        });
        fleet.add_event(&serde_json::from_value(event).unwrap(), now());
    }
    fleet.failed("EksCluster", HOSTILE.to_owned(), now());
    fleet
}

/// The pages of all objects of the hostile fleet.
fn all_pages(fleet: &Fleet) -> Vec<String> {
    let viewer = Viewer::of_everything();
    let hostile = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect::<String>();
    let filter =
        format!("q={hostile}&account={hostile}&region={hostile}&version={hostile}&label={hostile}&state=blocked");
    let ids = [
        Id::new(Kind::EksCluster, "team-a", "demo"),
        Id::new(Kind::NodeGroup, "team-a", "group"),
        Id::new(Kind::AwsAccount, "", "default"),
        Id::new(Kind::FleetRollout, "", "main"),
    ];
    let mut pages: Vec<String> =
        ids.iter().map(|id| html(fleet, &viewer, |context| view::object(context, id).unwrap())).collect();
    pages.extend([landing(fleet, ""), landing(fleet, &filter), html(fleet, &viewer, view::accounts)]);
    pages
}

#[test]
fn texts_of_all_statuses_are_known() {
    for (kind, least, some) in [
        (
            Kind::EksCluster,
            100,
            vec![".conditions[].message", ".gitops.heldRevision.message", ".hooks[].message", ".plan.steps[].detail"],
        ),
        (Kind::NodeGroup, 60, vec![".replacement.blockedPods[].budget", ".healthIssues[].message"]),
        (Kind::AwsAccount, 5, vec![".callerArn", ".conditions[].message"]),
        (Kind::FleetRollout, 20, vec![".releases[].halt.message", ".releases[].waves[].checks[].clusters[].message"]),
    ] {
        let (_, texts) = status(kind, 0);
        assert!(texts.len() >= least, "{kind:?} has {}", texts.len());
        assert!(some.iter().all(|path| texts.contains(*path)), "{kind:?}: {some:?} are not all in {texts:?}");
    }
}

#[test]
fn nothing_of_an_object_is_more_than_text() {
    for page in (0..ROUNDS).flat_map(|round| all_pages(&hostile_fleet(round))) {
        assert!(page.contains("&#60;script&#62;alert(1)"), "the text is shown: {page}");
        for tag in ["<script>", "<img", "<svg onload", "</title></script>"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        let attributes = page.split('<').filter(|tag| tag.contains("onerror=") || tag.contains("onload="));
        for text in attributes {
            let tag = text.split('>').next().unwrap_or_default();
            // Only inside a value: the quotes are escaped.
            assert!(!tag.contains(" onerror=alert(1)\"") || tag.contains("&#60;"), "{tag}");
        }
        // The page's own script is the only one, and no address is one.
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("javascript:") && !page.contains(" style="), "{page}");
    }
}

#[test]
fn copied_command_is_none_of_a_hostile_object() {
    for page in (0..ROUNDS).flat_map(|round| all_pages(&hostile_fleet(round))) {
        for command in page.split("data-copy=\"").skip(1) {
            let command = command.split('"').next().unwrap_or_default();
            assert!(!command.contains("script") && !command.contains("&#59;"), "{command}");
        }
    }
}
