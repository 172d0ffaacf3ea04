//! The checks of images: each is a function from facts to judgements.

use coffer_checks::{Check, Finding, Judgement, Report};

use crate::facts::Facts;

mod composition;
mod configuration;
mod integrity;
mod secrets;

/// A check of images.
pub struct ImageCheck {
    /// What it is about.
    pub about: Check,
    /// What comes of it: a judgement about each thing in particular, or one about the whole, whose subject is empty.
    judge: fn(&Facts) -> Vec<(String, Judgement)>,
}

/// The families.
static FAMILIES: &[&[ImageCheck]] = &[secrets::CHECKS, integrity::CHECKS, configuration::CHECKS, composition::CHECKS];

/// Every check of images.
pub fn catalogue() -> impl Iterator<Item = &'static Check> {
    FAMILIES.iter().copied().flatten().map(|check| &check.about)
}

/// Judges an image by what is known of it.
#[must_use]
pub fn judge(target: &str, facts: &Facts) -> Report {
    let checks = FAMILIES.iter().copied().flatten();
    let findings = checks.flat_map(|check| {
        let judged = (check.judge)(facts);
        judged.into_iter().map(|(subject, judgement)| Finding::about(&check.about, subject, judgement))
    });
    Report::new(target, findings.collect())
}

/// One judgement, about the whole.
fn whole(judgement: Judgement) -> Vec<(String, Judgement)> {
    vec![(String::new(), judgement)]
}

/// What fails, or that nothing does: which counts only where everything was looked at.
fn none_of(failures: Vec<(String, Judgement)>, facts: &Facts, none: &str) -> Vec<(String, Judgement)> {
    match (failures.is_empty(), facts.unread_layers()) {
        (false, _) => failures,
        (true, 0) => whole(Judgement::pass(none)),
        (true, layers) => whole(Judgement::unknown(format!("{layers} layers were not read whole"))),
    }
}

#[cfg(test)]
mod tests;
