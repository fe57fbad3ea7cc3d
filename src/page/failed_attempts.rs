//! Counts tokens that the API server did not accept, by where they came from: who tries many is refused for a while without asking it.
//! Bounded. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Wrong tokens of a client within [`WINDOW`].
const MAX_WRONG: u32 = 20;
/// After this time a client may try again.
const WINDOW: Duration = Duration::from_secs(60);
/// Clients that are counted apart; further ones are counted together.
const MAX_CLIENTS: usize = 1024;
/// The name of those that are counted together.
const OTHERS: &str = "";

/// Wrong tokens by client.
#[derive(Default)]
pub struct FailedAttempts(HashMap<String, (u32, Instant)>);

impl FailedAttempts {
    /// Whether the client has tried too many.
    pub fn is_blocked(&self, client: &str, now: Instant) -> bool {
        let count = self.0.get(self.counted_as(client));
        count.is_some_and(|(wrong, since)| *wrong >= MAX_WRONG && now.saturating_duration_since(*since) < WINDOW)
    }

    /// Counts a wrong token.
    pub fn record(&mut self, client: &str, now: Instant) {
        if self.0.len() >= MAX_CLIENTS {
            self.0.retain(|_, (_, since)| now.saturating_duration_since(*since) < WINDOW);
        }
        let name = self.counted_as(client).to_owned();
        let (wrong, since) = self.0.entry(name).or_insert((0, now));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*wrong, *since) = (0, now);
        }
        *wrong += 1;
    }

    fn counted_as<'a>(&self, client: &'a str) -> &'a str {
        if self.0.len() < MAX_CLIENTS || self.0.contains_key(client) { client } else { OTHERS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_with_many_wrong_tokens_waits_and_others_do_not() {
        let (mut guesses, start) = (FailedAttempts::default(), Instant::now());
        for _ in 0..MAX_WRONG {
            assert!(!guesses.is_blocked("10.0.0.1", start));
            guesses.record("10.0.0.1", start);
        }
        assert!(guesses.is_blocked("10.0.0.1", start) && !guesses.is_blocked("10.0.0.2", start));
        assert!(!guesses.is_blocked("10.0.0.1", start + WINDOW));
        guesses.record("10.0.0.1", start + WINDOW);
        assert!(!guesses.is_blocked("10.0.0.1", start + WINDOW), "it counts from the beginning");
    }

    #[test]
    fn number_of_clients_is_bounded() {
        let (mut guesses, start) = (FailedAttempts::default(), Instant::now());
        for number in 0..3 * MAX_CLIENTS {
            guesses.record(&number.to_string(), start);
        }
        assert!(guesses.0.len() <= MAX_CLIENTS + 1);
        assert!(guesses.is_blocked("new", start), "those that are counted together");
        assert!(!guesses.is_blocked("0", start));
        guesses.record("new", start + WINDOW);
        assert!(guesses.0.len() <= 1 && !guesses.is_blocked("new", start + WINDOW));
    }
}
