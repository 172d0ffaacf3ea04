//! Whether the image is what it says, and was looked at whole.

use coffer_checks::{Check, Judgement, Severity, Tier};

use super::{ImageCheck, whole};
use crate::facts::{Facts, Outcome};

pub(super) const CHECKS: &[ImageCheck] = &[
    ImageCheck {
        about: Check {
            id: "IMG-41",
            title: "no layer that is made to do harm",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "Paths that lead out of the image, headers that readers differ about and bombs hide things or break what unpacks them.",
            remedy: "build it with a builder that is well kept, and ask where it comes from",
        },
        judge: |facts| layers(facts, |outcome| matches!(outcome, Outcome::Malformed(_)), "all are well made"),
    },
    ImageCheck {
        about: Check {
            id: "IMG-42",
            title: "every layer is what its digest names",
            severity: Severity::Critical,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "Somebody has changed it, or it was damaged.",
            remedy: "pull it again; if that does not help, do not run it",
        },
        judge: |facts| layers(facts, |outcome| matches!(outcome, Outcome::WrongDigest(_)), "all are"),
    },
    ImageCheck {
        about: Check {
            id: "IMG-43",
            title: "every layer was looked at",
            severity: Severity::High,
            tier: Tier::Gate,
            benchmarks: &[],
            why: "Nothing is known of what was not read.",
            remedy: "see why: it is encrypted, cut off, or larger than anything that is looked at",
        },
        judge: |facts| match facts.layers.is_empty() {
            true => whole(Judgement::unknown("it has no layer")),
            false => layers(facts, |outcome| matches!(outcome, Outcome::Unread(_)), "all were"),
        },
    },
];

fn layers(facts: &Facts, is: impl Fn(&Outcome) -> bool, none: &str) -> Vec<(String, Judgement)> {
    let judged = facts.layers.iter().enumerate().filter(|(_, layer)| is(&layer.outcome)).map(|(number, layer)| {
        let (Outcome::Unread(why) | Outcome::Malformed(why) | Outcome::WrongDigest(why)) = &layer.outcome else {
            return (String::new(), Judgement::pass(none));
        };
        (format!("layer {}: {}", number + 1, layer.name), Judgement::fail(why.clone()))
    });
    let judged: Vec<_> = judged.collect();
    if judged.is_empty() { whole(Judgement::pass(none)) } else { judged }
}

impl Facts {
    /// How many layers were not read to their end.
    #[must_use]
    pub fn unread_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.outcome != Outcome::Read).count()
    }
}
