//! Values that a vault stores, found by their marks: whoever scans has none of the values.

use std::{collections::HashSet, ops::Range};

use coffer_crypto::mark::{MARK_BYTES, Mark, MarkKey, is_part, runs};

/// Marks of what a vault stores.
pub struct Stored {
    key: MarkKey,
    marks: HashSet<Mark>,
}

impl Stored {
    /// Nothing yet, of marks with this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: MarkKey::new(key), marks: HashSet::new() }
    }

    /// More marks, one behind the other. What is left over is no mark.
    pub fn add(&mut self, marks: &[u8]) {
        let (marks, _) = marks.as_chunks::<MARK_BYTES>();
        self.marks.extend(marks);
    }

    /// How many marks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Those that begin in `begin`.
    pub(super) fn look(&self, window: &[u8], begin: Range<usize>, mut each: impl FnMut(Range<usize>)) {
        let rest = window.get(begin.start..).unwrap_or_default();
        // A run that began before is looked at already.
        let is_within = begin.start.checked_sub(1).and_then(|before| window.get(before)).is_some_and(|byte| is_part(*byte));
        let skipped = if is_within { rest.iter().take_while(|byte| is_part(**byte)).count() } else { 0 };
        let (at, rest) = (begin.start + skipped, rest.get(skipped..).unwrap_or_default());
        for run in runs(rest) {
            let range = at + run.start..at + run.end;
            if range.start >= begin.end {
                return;
            }
            if rest.get(run).is_some_and(|run| self.marks.contains(&self.key.mark(run))) {
                each(range);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coffer_checks::Status;

    use super::super::{BEHIND_BYTES, REACH_BYTES, Scanner, WINDOW_BYTES};
    use super::*;
    use crate::{Config, Image, gather_with, judge, kit::Layer};

    const KEY: [u8; 32] = [7; 32];
    const VALUE: &str = "kX93jd82nQw1Zr7Tb5Yp";

    /// Marks of this value alone, as a vault tells them.
    fn stored(value: &str) -> Stored {
        let key = MarkKey::new(&KEY);
        let marks: Vec<u8> = runs(value.as_bytes()).flat_map(|run| key.mark(&value.as_bytes()[run])).collect();
        let mut stored = Stored::new(&KEY);
        stored.add(&marks);
        stored
    }

    #[test]
    fn a_value_is_found_at_each_place_around_a_window_s_end() {
        for distance in [0, 1, 19, 20, 21, REACH_BYTES, REACH_BYTES + 1, REACH_BYTES + BEHIND_BYTES, 2 * REACH_BYTES] {
            let before = WINDOW_BYTES + REACH_BYTES + BEHIND_BYTES - distance;
            let text = format!("{}{VALUE}{}", " ".repeat(before), " ".repeat(3 * WINDOW_BYTES));
            let found = Scanner::with(Some(stored(VALUE))).read(text.as_bytes()).unwrap();
            assert_eq!(found.iter().map(|found| found.what.id()).collect::<Vec<_>>(), ["stored-value"], "{distance}");
        }
    }

    #[test]
    fn a_value_is_found_whole_and_by_nothing_that_is_only_like_it() {
        let found = |text: &str| Scanner::with(Some(stored(VALUE))).text(text).len();
        for text in [VALUE.to_owned(), format!("x={VALUE}"), format!("{{\"{VALUE}\"}}"), format!("\0{VALUE}\0")] {
            assert_eq!(found(&text), 1, "{text}");
        }
        for text in [format!("x{VALUE}"), format!("{VALUE}x"), VALUE.to_ascii_lowercase(), VALUE.replacen('k', "", 1)] {
            assert_eq!(found(&text), 0, "{text}");
        }
        // What is behind the marked bytes of a long run does not matter.
        let long = VALUE.repeat(5);
        assert_eq!(Scanner::with(Some(stored(&long))).text(&format!("{long}more")).len(), 1);
        assert_eq!(Scanner::default().text(VALUE).len(), 0);
    }

    #[test]
    fn a_value_that_is_stored_fails_the_image_wherever_it_is() {
        let judged = |stored: Option<Stored>, layers: Vec<Vec<u8>>, config: Config| {
            let report = judge("image", &gather_with(Image::in_memory(config, layers), stored, &mut |_| ()));
            let found = report.findings.into_iter().filter(|finding| finding.check.id == "IMG-10");
            found.map(|finding| (finding.status, finding.subject, finding.evidence)).collect::<Vec<_>>()
        };
        let text = format!("[db]\npassword: {VALUE}\n");
        let layers = || {
            let hides = Layer::new().file("app/.wh.settings", b"").bytes();
            vec![Layer::new().file("app/settings", text.as_bytes()).bytes(), hides]
        };
        let [(status, subject, evidence)] = &judged(Some(stored(VALUE)), layers(), Config::default())[..] else { panic!("one") };
        assert_eq!((*status, subject.as_str()), (Status::Fail, "layer 1: /app/settings"));
        assert_eq!(evidence, "a value that the vault stores, line 2; layer 2 hides it, and it is pulled all the same");

        let mut config = Config::default();
        config.config.env = Some(vec![format!("DB_PASSWORD={VALUE}")]);
        let found = judged(Some(stored(VALUE)), Vec::new(), config);
        assert_eq!(
            found.iter().map(|(status, subject, _)| (*status, subject.as_str())).collect::<Vec<_>>(),
            [(Status::Fail, "environment: DB_PASSWORD")]
        );

        assert_eq!(judged(Some(stored("9f86d081884c7d659a2f")), layers(), Config::default())[0].0, Status::Pass);
        assert_eq!(judged(None, layers(), Config::default())[0].0, Status::NotApplicable);
        // A layer that was not read may have it.
        let broken = judged(Some(stored(VALUE)), vec![b"no archive at all".repeat(100)], Config::default());
        assert_eq!(broken[0].0, Status::Unknown);
    }
}
