//! Ownership tags: the owner of a resource, and its key in the graph. Pure.
//!
//! A resource is owned if it carries the object's UID; nothing else is changed or deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::types::{ResourceType, TagSpecification};

/// UID of the Kubernetes object.
pub const OWNER: &str = "keelson.dev/owner";
/// `namespace/name` of the owner, or, without [`OWNER`], of the object that retained the resource.
pub const CLUSTER: &str = "keelson.dev/cluster";
/// The resource's key in the graph, e.g. `subnet/private/eu-west-1a`.
pub const RESOURCE: &str = "keelson.dev/resource";
/// The installation of Keelson that created or adopted the resource. Written with the others on create, adopt and
/// recover, and never compared: resources of an older Keelson have none.
pub const INSTALLATION: &str = "keelson.dev/installation";
/// On a NAT gateway of Keelson's: its address is of others.
pub const GIVEN_ADDRESS: &str = "keelson.dev/given-address";
pub const NAME: &str = "Name";

/// Whether IAM may take two tag keys for one: it ignores case. Beyond ASCII too, because it takes letters of all alphabets, and some of them
/// are an ASCII letter in another case, such as the Kelvin sign.
pub fn is_same_key(one: &str, other: &str) -> bool {
    fold_case(one) == fold_case(other)
}

/// A key without its case. Either direction alone misses some: the Kelvin sign has only a lowercase letter, the long s only
/// an uppercase one.
fn fold_case(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

/// The tags that define the owner of a resource.
pub const OWNERSHIP: [&str; 3] = [OWNER, CLUSTER, RESOURCE];

/// Tags to remove when a resource is retained. [`CLUSTER`] remains: it names the object that retained it, and so the
/// namespace that may adopt it again.
pub const REMOVED_ON_RELEASE: [&str; 3] = [OWNER, RESOURCE, INSTALLATION];

/// Whether the tag defines the owner of a resource.
pub fn is_ownership(key: &str) -> bool {
    OWNERSHIP.contains(&key) || key == INSTALLATION
}

/// Prefix of our tag keys.
const PREFIX: &str = "keelson.dev/";
/// Tags that AWS allows on a resource. The CRDs' rules hold the other limits: characters and lengths of keys and values.
/// See <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>.
pub const MAX_TAGS: usize = 50;

/// Our own tags, and the three that subnets carry for load balancers. Without [`INSTALLATION`], which is omitted if
/// there is no room.
const OUR_OWN: usize = 7;

/// Tags of the account and of the object that fit on every resource.
pub const MAX_USER_TAGS: usize = MAX_TAGS - OUR_OWN;

/// A resource's tags, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    set: BTreeMap<String, String>,
    /// Keys to remove.
    removed: BTreeSet<String>,
}

/// The owner of a resource, by its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// No owner tag.
    Unowned,
    /// The UID of another object.
    Other {
        owner: String,
        /// `namespace/name` of that object, if tagged.
        cluster: Option<String>,
    },
    Ours,
}

impl Ownership {
    /// The owner of a resource with `tags`, from the view of the object with `uid`.
    pub fn of(tags: &Tags, uid: &str) -> Self {
        match tags.get(OWNER) {
            None => Ownership::Unowned,
            Some(owner) if owner == uid => Ownership::Ours,
            Some(owner) => Ownership::Other { owner: owner.to_owned(), cluster: tags.get(CLUSTER).map(str::to_owned) },
        }
    }
}

impl Tags {
    pub fn new() -> Self {
        Self::default()
    }

    /// The tags of a new resource. The user's tags come first, so that none of them replaces one of ours; a user's
    /// `Name` is retained, in any case: to IAM, `name` and `Name` are one key, and it takes no key twice.
    pub fn owned(uid: &str, cluster: &str, resource: &str, name: &str, user: &BTreeMap<String, String>) -> Self {
        let mut tags = Tags::from(user.clone());
        if !tags.set.keys().any(|key| is_same_key(key, NAME)) {
            tags.set.insert(NAME.to_owned(), name.to_owned());
        }
        tags.with(OWNER, uid).with(CLUSTER, cluster).with(RESOURCE, resource)
    }

    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.insert(key.into(), value.into());
        self
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.set.get(key).map(String::as_str)
    }

    /// Adds the installation, if there is room for one more tag besides those that subnets carry.
    #[must_use]
    pub fn with_installation(self, id: Option<&str>, user: usize) -> Self {
        match id.filter(|_| user < MAX_USER_TAGS) {
            Some(id) => self.with(INSTALLATION, id),
            None => self,
        }
    }

    /// Whether AWS accepts another tag on a resource with these.
    pub fn has_room(&self) -> bool {
        self.len() < MAX_TAGS
    }

    /// The owner's UID.
    pub fn owner(&self) -> Option<&str> {
        self.get(OWNER)
    }

    /// The installation that created it.
    pub fn installation(&self) -> Option<&str> {
        self.get(INSTALLATION)
    }

    /// The resource's key in the graph.
    pub fn resource(&self) -> Option<&str> {
        self.get(RESOURCE)
    }

    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.owner() == Some(uid)
    }

    /// The ownership tags.
    pub fn ownership(&self) -> Tags {
        self.iter().filter(|(key, _)| is_ownership(key)).collect()
    }

    /// Adds keys to remove, except those in this set, AWS's and ours.
    #[must_use]
    pub fn without(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.removed.extend(keys.into_iter().filter(|key| !is_never_removed(key)));
        self
    }

    /// The keys to remove, from [`Tags::without`].
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.removed.iter().filter(|key| !self.set.contains_key(*key)).map(String::as_str)
    }

    /// Applies `tags`: sets theirs, and removes the keys they remove.
    pub fn apply(&mut self, tags: Tags) {
        for key in tags.removed() {
            self.set.remove(key);
        }
        self.set.extend(tags.set);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.set.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.set.len()
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The tags that `observed` lacks; other tags on the resource are unchanged.
    pub fn missing_from(&self, observed: &Tags) -> Tags {
        let differs = |(key, value): &(&str, &str)| observed.get(key) != Some(*value);
        self.iter().filter(differs).collect()
    }

    pub fn to_ec2(&self) -> Vec<aws_sdk_ec2::types::Tag> {
        self.iter().map(|(key, value)| aws_sdk_ec2::types::Tag::builder().key(key).value(value).build()).collect()
    }

    /// For tagging on create, the only way to find a resource again without a client token.
    pub fn to_ec2_specification(&self, resource: ResourceType) -> TagSpecification {
        TagSpecification::builder().resource_type(resource).set_tags(Some(self.to_ec2())).build()
    }

    pub fn to_iam(&self) -> Vec<aws_sdk_iam::types::Tag> {
        // The builder fails only without key and value.
        self.iter()
            .filter_map(|(key, value)| aws_sdk_iam::types::Tag::builder().key(key).value(value).build().ok())
            .collect()
    }

    pub fn to_events(&self) -> Vec<aws_sdk_eventbridge::types::Tag> {
        // As for IAM.
        self.iter()
            .filter_map(|(key, value)| aws_sdk_eventbridge::types::Tag::builder().key(key).value(value).build().ok())
            .collect()
    }

    pub fn to_eks(&self) -> HashMap<String, String> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    pub fn from_ec2(tags: &[aws_sdk_ec2::types::Tag]) -> Self {
        let pair =
            |tag: &aws_sdk_ec2::types::Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
        tags.iter().filter_map(pair).collect()
    }

    pub fn from_iam(tags: &[aws_sdk_iam::types::Tag]) -> Self {
        tags.iter().map(|tag| (tag.key(), tag.value())).collect()
    }

    pub fn from_eks(tags: Option<&HashMap<String, String>>) -> Self {
        tags.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self::from(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect::<BTreeMap<_, _>>())
    }
}

impl From<BTreeMap<String, String>> for Tags {
    fn from(set: BTreeMap<String, String>) -> Self {
        Self { set, removed: BTreeSet::new() }
    }
}

/// Whether no manifest takes a tag of this key, because AWS or Keelson sets it.
pub fn is_reserved(key: &str) -> bool {
    let of_kubernetes = ["kubernetes.io/cluster/", "kubernetes.io/role/"];
    is_same_key(key, NAME) || is_never_removed(key) || of_kubernetes.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a key is one of AWS's or of Keelson's, in any case.
pub fn is_never_removed(key: &str) -> bool {
    ["aws:", PREFIX].iter().any(|prefix| begins_with(key, prefix))
}

/// Whether a key begins with `prefix`, compared as in [`is_same_key`].
fn begins_with(key: &str, prefix: &str) -> bool {
    fold_case(key).starts_with(&fold_case(prefix))
}

#[cfg(test)]
#[path = "tags_tests.rs"]
mod tests;
