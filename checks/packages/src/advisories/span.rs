//! Versions from one to another.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{Ecosystem, compare};

/// Versions that an advisory is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first; none where it is all from the beginning.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether `from` itself is not among them.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_open: bool,
    /// The first that is mended.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// The last that is not, where nobody says which is.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl Span {
    /// Whether a version is among them; none where it has no place in their order.
    pub(crate) fn has(&self, ecosystem: Ecosystem, version: &str) -> Option<bool> {
        let is = |bound: &Option<String>, holds: &dyn Fn(Ordering) -> bool| match bound {
            Some(bound) => compare(ecosystem, version, bound).map(holds),
            None => Some(true),
        };
        let begun = is(&self.from, &|order| if self.is_open { order.is_gt() } else { order.is_ge() });
        let ends = [is(&self.fixed, &Ordering::is_lt), is(&self.last, &Ordering::is_le)];
        // A bound that surely leaves it out is enough.
        let all = [begun, ends[0], ends[1]];
        if all.contains(&Some(false)) {
            return Some(false);
        }
        (!all.contains(&None)).then_some(true)
    }
}

/// What happens at a version, as OSV tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Introduced(String),
    Fixed(String),
    Last(String),
}

impl Event {
    fn version(&self) -> &str {
        match self {
            Self::Introduced(version) | Self::Fixed(version) | Self::Last(version) => version,
        }
    }

    /// Of events at one version: a last version is one that it is in still.
    const fn turn(&self) -> u8 {
        match self {
            Self::Fixed(_) => 0,
            Self::Introduced(_) => 1,
            Self::Last(_) => 2,
        }
    }
}

/// The spans between events, which may stand in any order.
pub(super) fn spans(ecosystem: Ecosystem, mut events: Vec<Event>) -> Vec<Span> {
    events.sort_by(|one, other| {
        let order = match (one.version(), other.version()) {
            ("0", "0") => Ordering::Equal,
            ("0", _) => Ordering::Less,
            (_, "0") => Ordering::Greater,
            (one, other) => compare(ecosystem, one, other).unwrap_or(Ordering::Equal),
        };
        order.then_with(|| one.turn().cmp(&other.turn()))
    });
    let (mut spans, mut open): (Vec<Span>, Option<Span>) = (Vec::new(), None);
    for event in events {
        match (event, open.take()) {
            (Event::Introduced(_), Some(begun)) => open = Some(begun),
            (Event::Introduced(version), None) => {
                open = Some(Span { from: Some(version).filter(|version| version != "0"), ..Span::default() });
            }
            (Event::Fixed(version), Some(begun)) => spans.push(Span { fixed: Some(version), ..begun }),
            (Event::Last(version), Some(begun)) => spans.push(Span { last: Some(version), ..begun }),
            (Event::Fixed(_) | Event::Last(_), None) => {}
        }
    }
    spans.extend(open);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        let (kind, version) = text.split_once(' ').unwrap();
        match kind {
            "introduced" => Event::Introduced(version.into()),
            "fixed" => Event::Fixed(version.into()),
            _ => Event::Last(version.into()),
        }
    }

    #[test]
    fn events_become_spans_in_whatever_order_they_are() {
        let of = |events: &[&str]| spans(Ecosystem::Rust, events.iter().map(|text| event(text)).collect());
        let is_in =
            |events: &[&str], version: &str| of(events).iter().any(|span| span.has(Ecosystem::Rust, version) == Some(true));
        for events in [
            ["introduced 0", "fixed 1.2.0", "introduced 2.0.0", "fixed 2.1.0"],
            ["fixed 2.1.0", "introduced 2.0.0", "fixed 1.2.0", "introduced 0"],
        ] {
            for (version, affected) in [
                ("0.1.0", true),
                ("1.2.0-rc1", true),
                ("1.2.0", false),
                ("1.9.0", false),
                ("2.0.0", true),
                ("2.0.9", true),
                ("2.1.0", false),
            ] {
                assert_eq!(is_in(&events, version), affected, "{version}");
            }
        }
        let last = ["introduced 1.0.0", "last_affected 1.4.0"];
        assert!(is_in(&last, "1.4.0") && !is_in(&last, "1.4.1") && !is_in(&last, "0.9.0"));
        assert!(is_in(&["introduced 1.0.0"], "9.0.0"));
        assert!(of(&["fixed 1.0.0"]).is_empty());
        let only = ["introduced 1.4.0", "last_affected 1.4.0"];
        assert!(is_in(&only, "1.4.0") && !is_in(&only, "1.4.1"));
    }

    #[test]
    fn a_version_without_a_place_is_neither_in_nor_out() {
        let span = Span { from: Some("1.0.0".into()), fixed: Some("2.0.0".into()), ..Span::default() };
        assert_eq!(span.has(Ecosystem::Go, ""), None);
        assert_eq!(Span::default().has(Ecosystem::Go, ""), Some(true));
    }
}
