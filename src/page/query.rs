//! The state of a page, which is in its address: filter, sort and page of the table. It can be sent to a colleague. Pure.

use std::cmp::Ordering;

use url::form_urlencoded;

use super::row::Row;
use super::state::State;

/// Longest filter that is accepted.
const MAX_TEXT: usize = 200;

/// By what the table is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// What needs a person first.
    #[default]
    State,
    Name,
    Since,
    Version,
    Region,
    Account,
}

impl Sort {
    /// All columns that sort, with their headings.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Name, "name", "Cluster"),
        (Self::State, "state", "State"),
        (Self::Since, "since", "For"),
        (Self::Version, "version", "Version"),
        (Self::Region, "region", "Region"),
        (Self::Account, "account", "Account"),
    ];

    /// Its name in addresses.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(sort, ..)| *sort == self).map_or("state", |(_, name, _)| name)
    }
}

/// A filter, an order and a page of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Words that an object must contain, in its name, account, region, version, reason, revision or labels.
    pub text: String,
    pub state: Option<State>,
    pub account: String,
    pub region: String,
    pub version: String,
    /// A label as `key=value`, or a key.
    pub label: String,
    pub sort: Sort,
    pub descending: bool,
    /// Counted from 1.
    pub page: usize,
}

impl Query {
    /// The query of an address. What it does not know is ignored, as addresses are typed and outlive versions.
    pub fn parse(text: &str) -> Self {
        let mut query = Self { page: 1, ..Self::default() };
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let text = || value.trim().chars().take(MAX_TEXT).collect::<String>();
            match &*key {
                "q" => query.text = text(),
                "state" => query.state = State::parse(&value),
                "account" => query.account = text(),
                "region" => query.region = text(),
                "version" => query.version = text(),
                "label" => query.label = text(),
                "page" => query.page = value.parse().unwrap_or(1).max(1),
                "sort" => {
                    let (name, descending) = value.strip_prefix('-').map_or((&*value, false), |name| (name, true));
                    if let Some((sort, ..)) = Sort::ALL.iter().find(|(_, known, _)| *known == name) {
                        (query.sort, query.descending) = (*sort, descending);
                    }
                }
                _ => {}
            }
        }
        query
    }

    /// The address of the query.
    pub fn href(&self) -> String {
        let Self { text, state, account, region, version, label, sort, descending, page } = self;
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        let texts = [("q", text), ("account", account), ("region", region), ("version", version), ("label", label)];
        for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
            pairs.append_pair(key, value);
        }
        if let Some(state) = state {
            pairs.append_pair("state", state.name());
        }
        if (*sort, *descending) != (Sort::default(), false) {
            pairs.append_pair("sort", &self.sort_value());
        }
        if *page > 1 {
            pairs.append_pair("page", &page.to_string());
        }
        let pairs = pairs.finish();
        if pairs.is_empty() { "/".to_owned() } else { format!("/?{pairs}") }
    }

    /// The value of `sort` in the address.
    pub fn sort_value(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.sort.name())
    }

    /// The same in that order; again in the other direction, if it is sorted by that already.
    pub fn sorted_by(&self, sort: Sort) -> Self {
        Self { sort, descending: self.sort == sort && !self.descending, page: 1, ..self.clone() }
    }

    /// The same with that state, or, if it has it already, with all.
    pub fn with_state(&self, state: State) -> Self {
        let state = (self.state != Some(state)).then_some(state);
        Self { state, page: 1, ..self.clone() }
    }

    /// Whether it leaves out anything.
    pub fn is_filter(&self) -> bool {
        let texts = [&self.text, &self.account, &self.region, &self.version, &self.label];
        self.state.is_some() || texts.iter().any(|text| !text.is_empty())
    }

    /// Whether a row is left, apart from its state: the numbers of each state are shown beside the filter.
    pub fn filter(&self) -> impl Fn(&Row) -> bool + '_ {
        let words: Vec<String> = self.text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        move |row| {
            let is = |wanted: &String, value: &String| wanted.is_empty() || wanted == value;
            let has_label = || {
                row.labels.iter().any(|label| {
                    *label == self.label || label.split_once('=').is_some_and(|(key, _)| key == self.label)
                })
            };
            is(&self.region, &row.region)
                && is(&self.version, &row.version)
                && (is(&self.account, &row.account) || self.account == row.account_name)
                && (self.label.is_empty() || has_label())
                && words.iter().all(|word| row.search.contains(word))
        }
    }

    /// The rows of a page, in order: the others stay unsorted, as they are many. Equal ones are in the order of their names.
    pub fn page_of<'a>(&self, mut rows: Vec<&'a Row>, start: usize, end: usize) -> Vec<&'a Row> {
        if end < rows.len() {
            rows.select_nth_unstable_by(end, |a, b| self.compare(a, b));
            rows.truncate(end);
        }
        rows.sort_by(|a, b| self.compare(a, b));
        rows.split_off(start.min(rows.len()))
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let Self { sort, descending, .. } = *self;
        let by_name = || (&a.id.name, &a.id.namespace).cmp(&(&b.id.name, &b.id.namespace));
        let order = match sort {
            Sort::State => a.state.cmp(&b.state),
            Sort::Name => by_name(),
            // The longest first.
            Sort::Since => a.since.cmp(&b.since),
            Sort::Version => a.version_order.cmp(&b.version_order),
            Sort::Region => a.region.cmp(&b.region),
            Sort::Account => a.account.cmp(&b.account),
        };
        let order = if descending { order.reverse() } else { order };
        order.then_with(by_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::rows;

    #[test]
    fn address_keeps_the_query() {
        for text in
            ["/", "/?q=a+b%26c", "/?state=blocked&sort=-since&page=3", "/?account=1&region=r&version=1.35&label=a%3Db"]
        {
            let query = Query::parse(text.strip_prefix("/?").unwrap_or_default());
            assert_eq!(query.href(), text);
        }
        assert_eq!(Query::parse("sort=nothing&state=x&page=-1&other=1").href(), "/");
    }

    #[test]
    fn filters_are_combined() {
        let rows = rows();
        let names = |text: &str| -> Vec<String> {
            let query = Query::parse(text);
            let filter = query.filter();
            rows.iter().filter(|row| filter(row)).map(|row| row.id.name.clone()).collect()
        };
        for (text, expected) in [
            ("", vec!["blocked", "held", "ready"]),
            ("q=READY", vec!["ready"]),
            ("q=team-a+ready", vec!["ready"]),
            ("q=team-b+ready", vec![]),
            ("label=env", vec!["blocked", "ready"]),
            ("label=env%3Dprod", vec!["blocked"]),
            ("region=eu-west-1&version=1.34", vec!["blocked"]),
            ("account=111122223333", vec!["blocked", "held", "ready"]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn what_needs_a_person_comes_first() {
        let sorted = |text: &str| {
            let rows = rows();
            let sorted = Query::parse(text).page_of(rows.iter().map(|row| &**row).collect(), 0, 3);
            sorted.iter().map(|row| row.id.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(""), ["blocked", "held", "ready"]);
        assert_eq!(sorted("sort=-state"), ["ready", "held", "blocked"]);
        assert_eq!(sorted("sort=-name"), ["ready", "held", "blocked"]);
        let rows = rows();
        let all = || rows.iter().map(|row| &**row).collect::<Vec<_>>();
        let page: Vec<_> = Query::parse("").page_of(all(), 1, 2).iter().map(|row| row.id.name.clone()).collect();
        assert_eq!(page, ["held"]);
        assert!(Query::parse("").page_of(all(), 3, 103).is_empty());
    }
}
