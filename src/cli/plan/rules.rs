//! Evaluates the CRDs' CEL rules, as the API server does. Rules about the previous object (`oldSelf`) hold at a creation;
//! [`super::transitions`] evaluates them where the object exists. Pure.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, Env, ExecutionError, Program};
use ipnet::IpNet;
use serde_json::Value;

/// The messages of the rules of `schema` that `value` breaks. A rule that cannot be evaluated is broken too, as at the API
/// server.
pub fn broken<'s>(schema: &'s Value, value: &Value) -> Vec<&'s str> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let rules = rules.filter(|rule| rule["rule"].as_str().is_some_and(|cel| !is_transition(cel)));
    let broken = rules.filter(|rule| rule["rule"].as_str().is_some_and(|cel| evaluate(cel, value, None) != Ok(true)));
    broken.map(message).collect()
}

/// The rules of `schema` about the previous value that the change from `old` to `new` breaks: the path of the field below `schema`, such
/// as `.spec.region`, which is empty for the value itself, and the message.
pub fn broken_by_change<'s>(schema: &'s Value, old: &Value, new: &Value) -> Vec<(&'s str, &'s str)> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let broken = rules.filter(|rule| {
        let cel = rule["rule"].as_str().filter(|cel| is_transition(cel));
        cel.is_some_and(|cel| evaluate(cel, new, Some(old)) != Ok(true))
    });
    broken.map(|rule| (rule["fieldPath"].as_str().unwrap_or_default(), message(rule))).collect()
}

fn message(rule: &Value) -> &str {
    rule["message"].as_str().unwrap_or("is refused by the API server")
}

/// Whether the rule compares with the previous object.
fn is_transition(cel: &str) -> bool {
    cel.contains("oldSelf")
}

/// Whether the rule holds for the value, and for the previous one if it is about that.
///
/// # Errors
/// It cannot be compiled or evaluated.
fn evaluate(cel: &str, value: &Value, old: Option<&Value>) -> Result<bool, String> {
    thread_local! {
        static ENVIRONMENT: Arc<Env> = Arc::new(environment());
        static PROGRAMS: RefCell<HashMap<String, Arc<Program>>> = RefCell::new(HashMap::new());
    }
    let program = PROGRAMS.with_borrow_mut(|programs| {
        if let Some(program) = programs.get(cel) {
            return Ok(Arc::clone(program));
        }
        let program = ENVIRONMENT.with(|environment| environment.compile(cel)).map_err(|error| error.to_string())?;
        Ok::<_, String>(Arc::clone(programs.entry(cel.to_owned()).or_insert(Arc::new(program))))
    })?;
    let mut context = Context::with_env(ENVIRONMENT.with(Arc::clone));
    add_kubernetes_functions(&mut context).map_err(|error| error.to_string())?;
    context.add_variable_from_value("self", convert(value));
    if let Some(old) = old {
        context.add_variable_from_value("oldSelf", convert(old));
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("{other:?} is no bool")),
        Err(error) => Err(error.to_string()),
    }
}

fn environment() -> Env {
    let mut environment = Env::stdlib();
    // An extension of the crate itself: it conflicts with nothing.
    let _ = environment.add_extension(cel::extensions::strings);
    environment
}

/// A whole number is an `int`, as the schema says.
fn convert(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(convert).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), convert(value))).collect::<HashMap<_, _>>().into()
        }
    }
}

type Answer<T> = Result<T, ExecutionError>;

/// The functions of Kubernetes that the rules use. Networks and addresses are texts in canonical form.
fn add_kubernetes_functions(context: &mut Context<'_, '_>) -> Result<(), cel::DeclarationError> {
    context.add_function("isCIDR", |text: Arc<String>| network(&text).is_ok())?;
    context.add_function("cidr", |text: Arc<String>| -> Answer<Arc<String>> {
        Ok(Arc::new(network(&text)?.to_string()))
    })?;
    context.add_function("ip", |This(text): This<Arc<String>>| -> Answer<Arc<String>> {
        Ok(Arc::new(network(&text)?.addr().to_string()))
    })?;
    context.add_function("masked", |This(text): This<Arc<String>>| -> Answer<Arc<String>> {
        Ok(Arc::new(network(&text)?.trunc().to_string()))
    })?;
    context.add_function("prefixLength", |This(text): This<Arc<String>>| -> Answer<i64> {
        Ok(network(&text)?.prefix_len().into())
    })?;
    context.add_function("containsCIDR", |This(text): This<Arc<String>>, other: Arc<String>| -> Answer<bool> {
        Ok(network(&text)?.trunc().contains(&network(&other)?))
    })?;
    context.add_function("family", |This(text): This<Arc<String>>| -> Answer<i64> {
        Ok(if address(&text)?.is_ipv4() { 4 } else { 6 })
    })?;
    context.add_function("isGlobalUnicast", |This(text): This<Arc<String>>| -> Answer<bool> {
        Ok(is_global_unicast(address(&text)?))
    })?;
    context.add_function("isURL", |text: Arc<String>| url::Url::parse(&text).is_ok())?;
    // In seconds.
    context.add_function("duration", |text: Arc<String>| -> Answer<f64> {
        let parsed = text.parse::<jiff::SignedDuration>();
        parsed.map(|duration| duration.as_secs_f64()).map_err(|error| ExecutionError::function_error("duration", error))
    })
}

fn network(text: &str) -> Answer<IpNet> {
    text.parse().map_err(|error| ExecutionError::function_error("cidr", error))
}

fn address(text: &str) -> Answer<IpAddr> {
    text.parse().map_err(|error| ExecutionError::function_error("ip", error))
}

/// As Go defines it, which the API server uses: private addresses are included.
fn is_global_unicast(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_link_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn functions_of_kubernetes_are_evaluated() {
        let private = "['10.0.0.0/8'].exists(block, cidr(block).containsCIDR(self))";
        let canonical = "isCIDR(self) && cidr(self) == cidr(self).masked() && cidr(self).prefixLength() <= 24";
        let cases = [
            ("self.matches(r'^[a-z]+$') && !self.contains('x')", json!("abc"), true),
            (
                "self.all(item, self.exists_one(other, other.name == item.name))",
                json!([{"name": "a"}, {"name": "a"}]),
                false,
            ),
            ("[has(self.a), has(self.b)].filter(set, set).size() == 1", json!({"a": 1, "c": 1}), true),
            ("self.all(key, key.lowerAscii() != 'name' && self[key].size() < 3)", json!({"Name": "x"}), false),
            ("self.min <= self.max && self.max >= 2", json!({"min": 1, "max": 2}), true),
            ("self.split(':')[3] == 'eu-west-1'", json!("arn:aws:kms:eu-west-1:1:key/2"), true),
            ("duration(self) >= duration('1s')", json!("500ms"), false),
            (private, json!("10.3.0.0/16"), true),
            (private, json!("10.0.0.0/7"), false),
            (canonical, json!("10.0.0.1/16"), false),
            (canonical, json!("10.0.0.0/16"), true),
            ("cidr(self).ip().family() == 4 && cidr(self).ip().isGlobalUnicast()", json!("169.254.0.0/16"), false),
            ("isURL(self)", json!("https://example.org/x"), true),
            ("isURL(self)", json!("example"), false),
        ];
        for (cel, value, expected) in cases {
            assert_eq!(evaluate(cel, &value, None), Ok(expected), "{cel} of {value}");
        }
        assert!(evaluate("self.unknown()", &json!("a"), None).is_err() && evaluate("self +", &json!(1), None).is_err());
    }

    #[test]
    fn rule_that_cannot_be_evaluated_is_broken_and_a_transition_rule_is_not() {
        let schema = json!({"x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "immutable"},
            {"rule": "self.matches('^a$')", "message": "must be a"},
        ]});
        assert_eq!(broken(&schema, &json!("a")), Vec::<&str>::new());
        assert_eq!(broken(&schema, &json!("b")), ["must be a"]);
        assert_eq!(broken(&schema, &json!(3)), ["must be a"]);
    }

    #[test]
    fn every_rule_of_the_crds_can_be_evaluated() {
        let mut rules = std::collections::BTreeSet::new();
        for crd in crate::api::crds::all() {
            collect(&serde_json::to_value(crd).unwrap(), &mut rules);
        }
        // A value of each type that the rules are about; fields that one lacks are an error, unless the rule has `has`.
        let samples = [
            json!("10.0.0.0/16"),
            json!("10m"),
            json!(3),
            json!(true),
            json!(["a", "b"]),
            json!({"a": "b"}),
            json!({}),
            json!({
                "spec": {
                    "version": "1.34", "instanceTypes": [], "capacityType": "Spot", "subnets": {}, "replacementPolicy": "Refuse",
                },
                "metadata": {"name": "demo"},
            }),
            json!({"allowInlinePolicies": true}),
            json!({
                "min": 1, "max": 3, "zoneCount": 3, "publicSubnets": true, "nat": "None", "region": "eu-west-1",
                "public": true, "private": false, "publicCidrs": ["0.0.0.0/0"], "ipFamily": "IPv4", "provider": "cosign",
                "authenticationMode": "Api", "desiredPolicy": "Ignore", "type": "Cluster",
                "network": {}, "kubernetesNetwork": {}, "capacityType": "OnDemand", "subnets": {}, "enabled": true, "nodePools": [],
                "minPort": 1, "maxPort": 2, "operator": "In", "values": ["a"], "job": {}, "kind": "NodeGroup", "source": {},
            }),
        ];
        let is_evaluated = |rule: &str, sample: &Value| {
            let old = is_transition(rule).then_some(sample);
            evaluate(rule, sample, old).is_ok()
        };
        let fails = |rule: &&String| !samples.iter().any(|sample| is_evaluated(rule, sample));
        assert!(rules.len() > 100, "{}", rules.len());
        assert_eq!(rules.iter().filter(fails).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    fn collect(value: &Value, rules: &mut std::collections::BTreeSet<String>) {
        let found = value["x-kubernetes-validations"].as_array().into_iter().flatten();
        rules.extend(found.filter_map(|rule| rule["rule"].as_str()).map(str::to_owned));
        match value {
            Value::Object(fields) => fields.values().for_each(|child| collect(child, rules)),
            Value::Array(items) => items.iter().for_each(|child| collect(child, rules)),
            _ => {}
        }
    }
}
