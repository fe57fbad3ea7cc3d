//! What all kinds of resources share: the session, the owner and the tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::graph::adoption::Adoption;
use super::graph::existing::Existing;
pub use super::owner::Owner;
use crate::aws::tags::{self, INSTALLATION, NAME, Tags};
use crate::aws::{AwsError, MaxStaleness, Session, snapshots};
use crate::engine::{Change, Failure, Key, Observation, ObserveOptions, PollPolicy};

/// Settings of the account that apply to every resource created in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// Tags; those of the object take precedence.
    pub tags: BTreeMap<String, String>,
    /// The boundary of every role that Keelson creates.
    pub permissions_boundary: Option<String>,
    /// The boundary of the roles of Pods; `None`: that of every role.
    pub workload_permissions_boundary: Option<String>,
    /// The path of every role that Keelson creates; `None`: `/`.
    pub role_path: Option<String>,
    /// Tags that take precedence over those of the object.
    pub enforced_tags: BTreeMap<String, String>,
}

impl AccountSettings {
    /// The boundary of the roles of Pods.
    pub fn workload_boundary(&self) -> Option<&str> {
        self.workload_permissions_boundary.as_ref().or(self.permissions_boundary.as_ref()).map(String::as_str)
    }

    /// The keys of an object's own tags that the enforced ones replace by another value or another case.
    pub fn overridden_keys(&self, own: &BTreeMap<String, String>) -> Vec<String> {
        let is_kept = |key: &String, value: &String| self.enforced_tags.get(key) == Some(value);
        let is_enforced = |key: &String| self.enforced_tags.keys().any(|other| tags::is_same_key(other, key));
        let overridden = own.iter().filter(|(key, value)| is_enforced(key) && !is_kept(key, value));
        overridden.map(|(key, _)| key.clone()).collect()
    }

    /// An object's own tags, with the enforced value of each key that is enforced.
    pub fn with_enforced_values(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let enforced = |key: &String| self.enforced_tags.iter().find(|(other, _)| tags::is_same_key(other, key));
        let pairs = own.iter().map(|pair| enforced(pair.0).unwrap_or(pair));
        pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The tags of an object's resources in the account: the account's, overridden by the object's, overridden by the
    /// enforced ones.
    pub fn tags_with(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = self.tags.clone();
        for overriding in [own, &self.enforced_tags] {
            // IAM treats keys that differ only in case as duplicates and rejects both.
            all.retain(|key, _| !overriding.keys().any(|other| tags::is_same_key(other, key)));
            all.extend(overriding.clone());
        }
        all
    }
}

/// Access to AWS for the resources of one object.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The account and region.
    pub aws: Session,
    /// The object that owns them.
    pub owner: Owner,
    /// How long observations stay valid.
    pub intervals: Intervals,
    /// Changes whenever a user requests an action. It is part of the client token of every update, so that a retry
    /// after a failure is a new update, and a request repeated after a crash is the same one.
    pub client_token_seed: String,
    /// Which resources without an owner may be adopted if they have the expected name.
    pub adoption: Adoption,
    /// Trusts ownership tags without a record: for read-only commands, which have no record.
    pub trusts_tags: bool,
    /// Which objects exist, by UID.
    pub existing: Existing,
}

impl Cloud {
    /// Whether what carries our tags is ours. `recorded`: a record says so. Otherwise the tags decide only where their owner allows
    /// adoption, or where nothing is written.
    pub fn proves(&self, recorded: bool) -> bool {
        recorded || self.trusts_tags || self.adoption != Adoption::Forbidden
    }
}

/// How often a steady resource is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Interval for the most important resources: network, cluster, node groups.
    pub drift: Duration,
    /// EKS has no batch describe: what belongs to a cluster (add-ons, access entries) is observed once every this many
    /// intervals.
    pub slow_factor: u32,
    /// How long Pods may hold credentials of a role that they had before.
    pub pod_credentials: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { drift: hour / 6, slow_factor: 6, pod_credentials: hour * 6 }
    }
}

impl Intervals {
    /// For resources that one read returns for all clusters of an account: twice per interval, with a cache age of up
    /// to half an interval.
    pub fn shared(self) -> PollPolicy {
        PollPolicy { interval: self.drift / 2, max_cache_age: self.drift / 2 }
    }

    /// For resources that are read one by one.
    pub fn single(self) -> PollPolicy {
        PollPolicy { interval: self.drift, max_cache_age: Duration::ZERO }
    }

    /// For data that changes a few times a month.
    pub fn rare(self) -> Duration {
        self.drift * self.slow_factor * self.slow_factor
    }

    /// For less important resources that are read one by one.
    pub fn slow(self) -> PollPolicy {
        PollPolicy { interval: self.drift * self.slow_factor, max_cache_age: Duration::ZERO }
    }
}

/// What all resources of an object share when its graph is expanded.
#[derive(Clone, Debug)]
pub struct ResourceContext<'a> {
    /// The object.
    pub owner: &'a Owner,
    /// Name of the cluster in EKS.
    pub cluster_name: &'a str,
    /// Tags of the account and of the object.
    pub user_tags: BTreeMap<String, String>,
    /// Tag keys that account and object requested before: they are removed unless still requested.
    pub former_tags: BTreeSet<String>,
    /// How long observations stay valid.
    pub intervals: Intervals,
}

impl ResourceContext<'_> {
    /// The tags of a resource.
    pub fn tags(&self, key: &Key) -> Tags {
        let resource = key.to_string();
        let name = format!("{}/{}", self.cluster_name, resource);
        Tags::owned(&self.owner.uid, &self.owner.cluster, &resource, &name, &self.user_tags)
            .with_installation(self.owner.installation.as_deref(), self.user_tags.len())
            .without(self.former_tags.iter().cloned())
    }
}

/// The maximum age of a shared read.
pub fn max_staleness(options: &ObserveOptions) -> MaxStaleness {
    MaxStaleness::within(options.max_age)
}

/// The cause is the [`AwsError`], with the code, the request id and the HTTP status.
impl From<AwsError> for Failure {
    fn from(error: AwsError) -> Self {
        let (code, retry_after) = (error.code.clone(), error.retry_after);
        Failure { code, retry_after, ..Failure::of(error.class(), error) }
    }
}

/// A resource that carries tags.
pub trait Tagged {
    /// Its id.
    fn id(&self) -> &str;
    /// Its tags.
    fn tags(&self) -> &Tags;
}

macro_rules! tagged {
    ($($kind:ident by $id:ident),* $(,)?) => {$(
        impl Tagged for snapshots::$kind {
            fn id(&self) -> &str {
                &self.$id
            }
            fn tags(&self) -> &Tags {
                &self.tags
            }
        }
    )*};
}

tagged!(
    Vpc by id,
    Subnet by id,
    InternetGateway by id,
    Address by allocation_id,
    NatGateway by id,
    RouteTable by id,
    VpcEndpoint by id,
    SecurityGroup by id,
    Role by name,
);

/// The tags that are missing or differ, and the formerly requested ones that still exist. Tags of others are left
/// alone, and so is `Name` after creation: users cannot set it (see the rules of `tags`), and nothing depends on it.
/// Ownership tags count only on resources that the object owns: adoption is a separate step.
pub fn tag_changes(wanted: &Tags, observed: &Tags) -> Vec<Change> {
    let ours = observed.owner().is_some();
    let mut changes = changes_of_tags(wanted, observed, |name| name != NAME && (ours || !tags::is_ownership(name)));
    let current =
        wanted.removed().filter(|name| ours && *name != NAME).filter_map(|name| Some((name, observed.get(name)?)));
    changes.extend(current.map(|(name, value)| Change::in_place(format!("{TAG_FIELD}{name}"), value, NO_TAG)));
    changes
}

/// The same for an owned resource without an owner tag: the missing ownership tags are a difference, too.
pub fn tag_changes_of_untagged(wanted: &Tags, observed: &Tags) -> Vec<Change> {
    changes_of_tags(wanted, observed, |name| name != NAME)
}

fn changes_of_tags(wanted: &Tags, observed: &Tags, is_compared: impl Fn(&str) -> bool) -> Vec<Change> {
    let is_owned = wanted.owner().is_some_and(|uid| observed.is_owned_by(uid));
    let change = |(name, value): (&str, &str)| {
        Change::in_place(format!("{TAG_FIELD}{name}"), observed.get(name).unwrap_or_default(), value)
    };
    // Resources that an older Keelson created have no installation tag; an upgrade does not add one. On a resource that
    // the object owns, another id is wrong: UIDs are unique, so no other installation's object can be the owner.
    let is_compared =
        |name: &str| is_compared(name) && (name != INSTALLATION || observed.installation().is_some_and(|_| is_owned));
    wanted.missing_from(observed).iter().filter(|(name, _)| is_compared(name)).map(change).collect()
}

const TAG_FIELD: &str = "tags.";
/// Replaces the value of a tag to remove. AWS allows no parentheses in values, so no tag can have this value.
const NO_TAG: &str = "(none)";

/// The tag key of a change of a tag.
pub fn tag_key(change_field: &str) -> Option<&str> {
    change_field.strip_prefix(TAG_FIELD)
}

/// Whether one of `changes` is of the field.
pub fn changes_field(changes: &[Change], field: &str) -> bool {
    changes.iter().any(|change| change.field == field)
}

/// Whether the change is of a tag.
pub fn is_tag(change: &Change) -> bool {
    change.field.starts_with(TAG_FIELD)
}

/// The tags that `changes` set and remove.
pub fn changed_tags(changes: &[Change]) -> Tags {
    let of_tags = changes.iter().filter_map(|change| Some((tag_key(&change.field)?, change.to.as_str())));
    let (removed, set): (Vec<_>, Vec<_>) = of_tags.partition(|(_, value)| *value == NO_TAG);
    set.into_iter().collect::<Tags>().without(removed.into_iter().map(|(key, _)| key.to_owned()))
}

/// The observed ARN; empty if AWS returns none.
pub fn arn<T>(observed: &Observation<T>) -> &str {
    observed.outputs.get("arn").map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::aws::Service;
    use crate::aws::errors::Call;
    use crate::aws::tags::{CLUSTER, OWNER, RESOURCE};
    use crate::engine::Class;

    #[test]
    fn failure_leads_back_to_the_answer_of_aws() {
        let (account, region) = ("111122223333", "eu-west-1");
        let call = Call { service: Service::Eks, action: "CreateCluster", resource: "demo", account, region };
        let mut answered = call.failed(Class::Quota, "too many clusters");
        answered.code = Some("ResourceLimitExceededException".to_owned());
        answered.request_id = Some("request-1".to_owned());
        answered.http_status = Some(400);
        answered.retry_after = Some(std::time::Duration::from_secs(7));
        let error = AwsError::from(answered);
        let failure = Failure::from(error.clone());
        assert_eq!((failure.class, &failure.message), (Class::Quota, &error.to_string()));
        assert_eq!((failure.retry_after, &failure.code), (error.retry_after, &error.code));
        let reclassified = Failure::of(Class::NoChange, error);
        assert_eq!(reclassified.class, Class::NoChange);
        for failure in [failure.clone(), Failure { class: Class::Invalid, ..failure.clone() }, reclassified] {
            let found = failure.source().and_then(|cause| cause.downcast_ref::<AwsError>()).expect("the AWS error");
            assert_eq!(found.code.as_deref(), Some("ResourceLimitExceededException"));
            assert_eq!((found.request_id.as_deref(), found.http_status), (Some("request-1"), Some(400)));
        }
    }

    #[test]
    fn failures_that_users_cannot_tell_apart_are_equal() {
        let failed = |class| Failure::new(class, "x");
        let later = Failure { retry_after: Some(std::time::Duration::from_secs(1)), ..failed(Class::Busy) };
        assert_eq!(failed(Class::Busy).caused_by(failed(Class::Quota)), later);
        assert_ne!(failed(Class::Busy), failed(Class::Quota));
        assert_ne!(failed(Class::Busy), Failure::new(Class::Busy, "y"));
    }

    fn fields(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.field.as_str()).collect()
    }

    fn wanted() -> Tags {
        let user = [("team".to_owned(), "a".to_owned())].into();
        Tags::owned("uid-1", "default/demo", "vpc", "demo/vpc", &user)
    }

    #[test]
    fn ownership_tags_are_compared_only_on_owned_resources_and_name_never() {
        let ours = Tags::new().with(OWNER, "uid-1").with(NAME, "by hand");
        let ownership_fields = ["tags.keelson.dev/cluster", "tags.keelson.dev/resource", "tags.team"];
        assert_eq!(fields(&tag_changes(&wanted(), &ours)), ownership_fields);
        let unowned = Tags::new().with(NAME, "by hand").with(CLUSTER, "default/other").with(RESOURCE, "subnet/x");
        assert_eq!(fields(&tag_changes(&wanted(), &unowned)), ["tags.team"]);
        let with_owner = fields(&tag_changes_of_untagged(&wanted(), &Tags::new())).len();
        assert_eq!(with_owner, 4);
    }

    #[test]
    fn another_installation_id_on_an_owned_resource_is_corrected_and_a_missing_one_is_not_added() {
        let wanted = wanted().with(INSTALLATION, "here");
        let owned: Tags = wanted.iter().filter(|(key, _)| *key != INSTALLATION).collect();
        assert_eq!(tag_changes(&wanted, &owned), []);
        let lost = owned.clone().with(INSTALLATION, "lost");
        assert_eq!(fields(&tag_changes(&wanted, &lost)), ["tags.keelson.dev/installation"]);
        // Neither where another object is the owner, nor by an installation without an id.
        let others = lost.clone().with(OWNER, "uid-2");
        assert!(!fields(&tag_changes(&wanted, &others)).contains(&"tags.keelson.dev/installation"));
        assert_eq!(tag_changes(&super::tests::wanted(), &lost), []);
    }

    #[test]
    fn former_tags_are_removed_and_foreign_tags_are_kept() {
        let former = ["team", "env", "aws:x", "keelson.dev/owner", "Keelson.dev/Owner", NAME].map(str::to_owned);
        let wanted = wanted().without(former);
        let foreign = [("karpenter.sh/discovery", "demo"), ("kubernetes.io/cluster/demo", "owned"), ("aws:x", "y")];
        let mut observed: Tags = wanted.iter().chain(foreign).chain([("env", "prod"), (NAME, "by hand")]).collect();
        let changes = tag_changes(&wanted, &observed);
        let text: Vec<_> = changes.iter().map(|c| format!("{} {} -> {}", c.field, c.from, c.to)).collect();
        assert_eq!(text, ["tags.env prod -> (none)"], "team is still requested");
        let requested = changed_tags(&changes);
        assert!(requested.is_empty(), "nothing is set");
        assert_eq!(requested.removed().collect::<Vec<_>>(), ["env"]);
        observed.apply(requested);
        assert_eq!(tag_changes(&wanted, &observed), []);
        assert_eq!(observed.get("karpenter.sh/discovery"), Some("demo"));
        // From a resource without an owner, no tag is removed before adoption.
        let unowned = Tags::new().with("env", "prod").with("team", "a");
        assert_eq!(tag_changes(&wanted, &unowned), []);
    }

    #[test]
    fn only_own_tags_that_enforced_ones_change_are_overridden() {
        let tags = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let enforced_tags = tags(&[("cost-center", "4711"), ("key", "1"), ("owner", "platform")]);
        let settings = AccountSettings { enforced_tags, ..AccountSettings::default() };
        let own = tags(&[("Owner", "platform"), ("cost-center", "1"), ("team", "shop"), ("\u{212a}EY", "mine")]);
        assert_eq!(settings.overridden_keys(&own), ["Owner", "cost-center", "\u{212a}EY"]);
        assert!(settings.overridden_keys(&tags(&[("owner", "platform")])).is_empty());
        let wanted = tags(&[("cost-center", "4711"), ("key", "1"), ("owner", "platform"), ("team", "shop")]);
        assert_eq!(settings.with_enforced_values(&own), wanted, "no other key is added");
    }

    #[test]
    fn enforced_tags_override_object_tags_which_override_account_tags() {
        let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let account = AccountSettings {
            tags: tags(&[("Team", "none"), ("env", "prod")]),
            enforced_tags: tags(&[("cost-center", "4711"), ("key", "1")]),
            ..AccountSettings::default()
        };
        // IAM takes keys that differ only in case for one. The last begins with the Kelvin sign.
        let own = tags(&[("team", "a"), ("cost-center", "free"), ("Cost-Center", "mine"), ("\u{212a}EY", "mine")]);
        let all = tags(&[("team", "a"), ("env", "prod"), ("cost-center", "4711"), ("key", "1")]);
        assert_eq!(account.tags_with(&own), all);
    }

    #[test]
    fn only_tags_in_the_changes_are_written() {
        let observed = Tags::new().with(OWNER, "uid-1").with("theirs", "x");
        let changes = [Change::in_place("version", "1", "2"), Change::in_place("tags.team", "", "a")];
        assert_eq!(changed_tags(&changes), Tags::new().with("team", "a"));
        assert!(changed_tags(&changes[..1]).is_empty());
        let mut after = observed;
        after.apply(changed_tags(&changes));
        assert_eq!((after.get("theirs"), after.get("team"), after.len()), (Some("x"), Some("a"), 3));
    }
}
