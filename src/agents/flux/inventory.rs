//! The inventory of a Kustomization: the number of objects, and those in the agent's namespace.
//!
//! Not allowed here: other ids, of which there may be thousands: they are skipped while the response is parsed. No I/O.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::input::NAMESPACE;
use crate::workload::kept::truncated;

/// Objects in the agent's namespace that are kept; there are usually some dozens.
const MOST_OF_AGENT: usize = 2000;

/// `status.inventory`, reduced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    pub count: usize,
    /// Ids of the objects in the agent's namespace, as Flux writes them: `NAMESPACE_NAME_GROUP_KIND`.
    agent: Vec<String>,
}

impl Inventory {
    /// Its memory in bytes.
    pub fn size(&self) -> usize {
        self.agent.iter().map(|id| size_of::<String>() + id.len()).sum()
    }

    /// Whether it contains an object of the agent's namespace.
    pub fn contains(&self, id: &str) -> bool {
        self.agent.iter().any(|entry| entry == id)
    }
}

impl<'de> Deserialize<'de> for Inventory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole)
    }
}

/// `{"entries": [...]}`, or null.
struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Inventory;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an inventory")
    }

    fn visit_unit<E>(self) -> Result<Inventory, E> {
        Ok(Inventory::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inventory, A::Error> {
        let mut inventory = Inventory::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == "entries" {
                inventory = map.next_value::<Option<Entries>>()?.map(|entries| entries.0).unwrap_or_default();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(inventory)
    }
}

struct Entries(Inventory);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Each).map(Self)
    }
}

struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Inventory;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries of an inventory")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Inventory, A::Error> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default, deserialize_with = "truncated")]
            id: String,
        }
        let mut inventory = Inventory::default();
        while let Some(Entry { id }) = entries.next_element()? {
            inventory.count += 1;
            if inventory.agent.len() < MOST_OF_AGENT
                && id.strip_prefix(NAMESPACE).is_some_and(|rest| rest.starts_with('_'))
            {
                inventory.agent.push(id);
            }
        }
        Ok(inventory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_entries_are_counted_and_only_the_agents_are_kept() {
        let text = r#"{"entries": [
            {"id": "flux-system_source-controller_apps_Deployment", "v": "v1"},
            {"id": "flux-systems_other_apps_Deployment", "v": "v1"},
            {"id": "_flux-system__Namespace", "v": "v1"}
        ], "more": {}}"#;
        let inventory: Inventory = serde_json::from_str(text).unwrap();
        assert_eq!(inventory.count, 3);
        assert!(inventory.contains("flux-system_source-controller_apps_Deployment"));
        assert_eq!(inventory.agent.len(), 1);
    }

    #[test]
    fn null_is_read_as_empty() {
        for text in ["null", "{}", r#"{"entries": null}"#, r#"{"entries": []}"#] {
            assert_eq!(serde_json::from_str::<Inventory>(text).unwrap(), Inventory::default(), "{text}");
        }
    }
}
