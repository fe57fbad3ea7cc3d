//! Queries of checks, with the facts of a cluster in them. Pure.

/// The facts that a query may name as `${NAME}`.
pub const FACTS: [&str; 5] =
    ["CLUSTER_NAME", "CLUSTER_NAMESPACE", "AWS_REGION", "AWS_ACCOUNT_ID", "KUBERNETES_VERSION"];

/// The facts that a query names, in order.
///
/// # Errors
/// It names something else.
pub fn facts_of(query: &str) -> Result<Vec<&'static str>, String> {
    let mut found = Vec::new();
    for part in query.split("${").skip(1) {
        let name = part.split_once('}').map(|(name, _)| name);
        let fact = FACTS.into_iter().find(|fact| Some(*fact) == name);
        found.push(fact.ok_or_else(|| {
            format!("${{{}}} is no fact of a cluster; those are {}", name.unwrap_or(part), FACTS.join(", "))
        })?);
    }
    Ok(found)
}

/// The query with the facts of a cluster.
///
/// # Errors
/// A fact is not known, or has characters that could change the query.
pub fn fill(query: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = query.to_owned();
    for fact in facts_of(query)? {
        let value = value(fact).filter(|value| !value.is_empty()).ok_or_else(|| format!("{fact} is not known yet"))?;
        let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !is_plain {
            return Err(format!("{fact} has characters that a query may not have: {value:?}"));
        }
        filled = filled.replace(&format!("${{{fact}}}"), &value);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        match name {
            "CLUSTER_NAME" => Some("canary-1".to_owned()),
            "AWS_REGION" => Some("eu\"} or vector(0) #".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn facts_are_replaced_wherever_they_are() {
        let query = r#"rate(a{cluster="${CLUSTER_NAME}",b=~"x$"}[5m]) / b{cluster="${CLUSTER_NAME}"}"#;
        assert_eq!(facts_of(query).unwrap(), ["CLUSTER_NAME", "CLUSTER_NAME"]);
        let filled = r#"rate(a{cluster="canary-1",b=~"x$"}[5m]) / b{cluster="canary-1"}"#;
        assert_eq!(fill(query, value).as_deref(), Ok(filled));
        assert_eq!(fill("up", value).as_deref(), Ok("up"));
    }

    #[test]
    fn unknown_and_dangerous_facts_are_errors() {
        assert!(facts_of("${NODE}").unwrap_err().contains("${NODE} is no fact of a cluster"));
        assert!(facts_of("${CLUSTER_NAME").is_err());
        assert_eq!(fill("${AWS_ACCOUNT_ID}", value).unwrap_err(), "AWS_ACCOUNT_ID is not known yet");
        assert!(fill("a{r=\"${AWS_REGION}\"}", value).unwrap_err().contains("characters"));
    }
}
