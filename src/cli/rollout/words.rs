//! The words of an annotation by which people decide: which of them still count. Nobody else removes them, so `keelson rollout` drops the
//! others when it adds one. Pure.

use std::collections::BTreeSet;

use crate::api::FleetRollout;
use crate::api::fleet_rollout_status::{ReleaseStatus, WaveStatus};
use crate::rollout::Target;
use crate::rollout::view::View;

/// Hexadecimal digits of a hash that a person approves.
const HASH_DIGITS: usize = 16;

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\n']).filter(|word| !word.is_empty())
}

/// Whether the annotation has the word already; several are separated by commas, spaces and line breaks.
pub fn has_word(annotation: Option<&str>, word: &str) -> bool {
    annotation.into_iter().flat_map(words).any(|one| one == word)
}

/// The annotation with these words behind those that still count.
pub fn with_words<'a>(
    annotation: Option<&str>,
    counts: impl Fn(&str) -> bool,
    new: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut all: Vec<&str> = annotation.into_iter().flat_map(words).filter(|word| counts(word)).collect();
    for word in new {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all.join(",")
}

fn releases(rollout: &FleetRollout) -> impl Iterator<Item = &ReleaseStatus> {
    rollout.status.iter().flat_map(|status| &status.releases)
}

/// Which words of the annotation `approve` count: hashes of clusters that wait now, in any wave, and what is no hash. `view`: without it the
/// clusters are not known, and all count.
pub fn approvals(rollout: &FleetRollout, view: Option<&View<'_>>) -> impl Fn(&str) -> bool {
    let hashes: Option<BTreeSet<String>> = view.map(|view| {
        let waves = releases(rollout).flat_map(|release| release.waves.iter().map(move |wave| (release, wave)));
        // One that is not open yet may be approved by a hash that its clusters have already.
        let of = |(release, wave): (&ReleaseStatus, &WaveStatus)| {
            let seen = view.wave(release, &wave.name).and_then(|seen| seen.hash);
            seen.into_iter().chain(wave.approval_hash.clone()).collect::<Vec<_>>()
        };
        waves.flat_map(of).collect()
    });
    move |word| {
        let is_hash = word.len() == HASH_DIGITS && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        !is_hash || hashes.as_ref().is_none_or(|hashes| hashes.contains(word))
    }
}

/// Which words of the annotation `promote` count: those of releases that exist, or may begin still. A wave of a release that has ended, and
/// that another cluster brings back one day, is to be observed again.
pub fn promotions(rollout: &FleetRollout, view: Option<&View<'_>>) -> impl Fn(&str) -> bool {
    move |word| {
        let Some((target, _)) = word.split_once('/') else { return true };
        let exists = releases(rollout).any(|release| release.target == target);
        let has_ended = || match target.parse() {
            // Nobody names a revision before a cluster has fetched it.
            Ok(Target::Revision(_)) => true,
            Ok(target) => view.is_some_and(|view| view.is_reached_by_all(target)),
            // It is not ours.
            Err(_) => false,
        };
        exists || !has_ended()
    }
}
