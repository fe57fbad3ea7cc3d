//! What a step brings a cluster to: a Kubernetes version, a version of its GitOps agent, or a revision of its source. Pure.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;

/// What a step brings a cluster to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A minor version of Kubernetes.
    Kubernetes(KubernetesVersion),
    /// A version of a GitOps agent.
    Agent(AgentVersion),
    /// A revision of a source.
    Revision(Revision),
}

impl Target {
    /// Whether a gate holds steps to such a target.
    pub fn is_of(self, gate: Gate) -> bool {
        match self {
            Self::Kubernetes(_) => matches!(gate, Gate::ControlPlane | Gate::NodeGroups),
            Self::Agent(_) => gate == Gate::Agent,
            Self::Revision(_) => gate == Gate::Revision,
        }
    }
}

impl From<KubernetesVersion> for Target {
    fn from(version: KubernetesVersion) -> Self {
        Self::Kubernetes(version)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes(version) => version.fmt(f),
            Self::Agent(version) => version.fmt(f),
            Self::Revision(revision) => revision.fmt(f),
        }
    }
}

/// Text that is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no target of a release, such as 1.36")]
pub struct InvalidTarget(String);

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(version) = text.parse() {
            return Ok(Self::Kubernetes(version));
        }
        let of_parts = |(first, second): (&str, &str)| match SourceKey::parse(second) {
            Some(source) if first.len() == DIGITS => Revision::of_digits(source, first).map(Self::Revision),
            _ => AgentVersion::new(first, second).map(Self::Agent),
        };
        text.split_once('-').and_then(of_parts).ok_or_else(|| InvalidTarget(text.to_owned()))
    }
}

/// A version of a GitOps agent, such as `flux-v2.9.5`. Versions of one agent are ordered by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AgentVersion {
    agent: Text<16>,
    version: Text<24>,
}

impl AgentVersion {
    /// `None`: a name or a version that no agent has.
    pub fn new(agent: &str, version: &str) -> Option<Self> {
        let is_name = !agent.is_empty() && agent.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
        let is_version = !version.is_empty() && version.bytes().all(is_part);
        (is_name && is_version).then_some(())?;
        Some(Self { agent: Text::new(agent)?, version: Text::new(version)? })
    }

    /// Whether both are versions of the same agent.
    pub fn is_same_agent(&self, other: &Self) -> bool {
        self.agent == other.agent
    }

    fn numbers(&self) -> Vec<u64> {
        self.version.as_str().split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    }
}

impl Ord for AgentVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_number = self.agent.cmp(&other.agent).then_with(|| self.numbers().cmp(&other.numbers()));
        by_number.then_with(|| self.version.cmp(&other.version))
    }
}

impl PartialOrd for AgentVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.agent.as_str(), self.version.as_str())
    }
}

/// Digits of a commit or digest that a target has.
const DIGITS: usize = 12;

/// The source of an agent: its address and reference, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(u64);

impl SourceKey {
    /// The key of a source, from everything that says which revisions it has.
    pub fn of(source: &str) -> Self {
        let digest = Sha256::digest(source.as_bytes());
        Self(digest.iter().take(8).fold(0, |key, byte| (key << 8) | u64::from(*byte)))
    }

    /// The key in text; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_key.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A revision of a source, such as `76087da78cdc-1a2b3c4d5e6f7081`. Revisions have no order: only the source knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    source: SourceKey,
    digest: Text<DIGITS>,
}

impl Revision {
    /// A revision as agents report it: `main@sha1:76087da...`, `latest@sha256:...` or a bare commit. `None`: it has no whole commit
    /// or digest, so that nothing else can stand for one.
    pub fn new(source: SourceKey, revision: &str) -> Option<Self> {
        let digest = revision.rsplit(['@', ':']).next().filter(|digest| matches!(digest.len(), 40 | 64))?;
        Self::of_digits(source, digest)
    }

    /// A revision by its first digits.
    fn of_digits(source: SourceKey, digest: &str) -> Option<Self> {
        let is_hex = digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then_some(Self { source, digest: Text::new(digest.get(..DIGITS)?)? })
    }

    /// The source.
    pub fn source(&self) -> SourceKey {
        self.source
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.digest.as_str(), self.source)
    }
}

/// A short text of ASCII characters, kept in place: what contains it is `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Text<const MAX: usize>([u8; MAX]);

impl<const MAX: usize> Text<MAX> {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        text.is_ascii().then_some(Self(bytes))
    }

    fn as_str(&self) -> &str {
        let text = std::str::from_utf8(&self.0).unwrap_or_default();
        text.trim_end_matches('\0')
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_parsed_from_its_text() {
        for text in ["1.36", "flux-v2.9.5", "argocd-v3.2.11", "flux-v2.10.0-rc.1", "76087da78cdc-1a2b3c4d5e6f7081"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "v1.36",
            "flux",
            "flux-",
            "-v2.9.5",
            "Flux-v2.9.5",
            "flux-v2/9",
            "flux-v2 9",
            "flux-v2.9.5-a-version-that-is-too-long",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_of_an_agent_are_ordered_by_their_numbers() {
        let of = |text: &str| text.parse::<Target>().unwrap();
        assert!(of("flux-v2.9.5") < of("flux-v2.10.0") && of("flux-v2.9.5") > of("flux-v2.7.5"));
        assert!(of("flux-unknown") < of("flux-v2.7.5"), "an unknown version is the lowest");
        let agent = |text: &str| match of(text) {
            Target::Agent(version) => version,
            other => panic!("{other}"),
        };
        assert!(agent("flux-v2.9.5").is_same_agent(&agent("flux-v2.7.5")));
        assert!(!agent("flux-v2.9.5").is_same_agent(&agent("argocd-v3.2.11")));
    }

    #[test]
    fn revision_is_the_start_of_a_commit_of_a_source() {
        let source = SourceKey::of("https://example.com/fleet main");
        let commit = "76087da78cdcec69b25c1392f6c5948b0bd320f5";
        let of = |text: &str| Revision::new(source, text);
        let expected = of(commit).unwrap();
        assert_eq!(expected.to_string(), format!("76087da78cdc-{source}"));
        for text in
            [format!("main@sha1:{commit}"), format!("sha1:{commit}"), format!("v1.2@sha256:{commit}{}", &commit[..24])]
        {
            assert_eq!(of(&text), Some(expected), "{text}");
        }
        for bad in ["", "main", "v1.2.3", "refs/heads/main", "main@sha1:76087da"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_ne!(Revision::new(SourceKey::of("another"), commit), Some(expected));
        assert_eq!(SourceKey::parse(&source.to_string()), Some(source));
    }

    #[test]
    fn each_gate_has_targets_of_its_own() {
        let table = [
            ("1.36", [true, true, false, false]),
            ("flux-v2.9.5", [false, false, true, false]),
            ("76087da78cdc-1a2b3c4d5e6f7081", [false, false, false, true]),
        ];
        for (text, expected) in table {
            assert_eq!(Gate::ALL.map(|gate| text.parse::<Target>().unwrap().is_of(gate)), expected, "{text}");
        }
    }
}
