//! The checks of images: each is a function from facts to judgements.

use coffer_checks::{Check, Day, Finding, Judgement, Report};
use coffer_packages::Advisories;

use crate::{facts::Facts, trust::Trust};

mod composition;
mod configuration;
mod integrity;
mod packages;
mod secrets;
mod trust;

/// A check of images.
pub struct ImageCheck {
    /// What it is about.
    pub about: Check,
    /// What comes of it: a judgement about each thing in particular, or one about the whole, whose subject is empty.
    judge: fn(&Facts) -> Vec<(String, Judgement)>,
}

/// The families.
static FAMILIES: &[&[ImageCheck]] = &[secrets::CHECKS, integrity::CHECKS, configuration::CHECKS, composition::CHECKS];

/// What is known beside the image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Against<'a> {
    /// Advisories about packages.
    pub advisories: Option<&'a Advisories>,
    /// The day by which it is judged.
    pub today: Option<Day>,
    /// What the site trusts.
    pub trust: Option<&'a Trust>,
}

/// Every check of images.
pub fn catalogue() -> impl Iterator<Item = &'static Check> {
    FAMILIES.iter().copied().flatten().map(|check| &check.about).chain(packages::catalogue()).chain(trust::catalogue())
}

/// Judges an image by what is known of it alone.
#[must_use]
pub fn judge(target: &str, facts: &Facts) -> Report {
    judge_against(target, facts, &Against::default())
}

/// Judges an image by what is known of it, of the packages in it, and of whom the site trusts.
#[must_use]
pub fn judge_against(target: &str, facts: &Facts, against: &Against<'_>) -> Report {
    let checks = FAMILIES.iter().copied().flatten();
    let findings = checks.flat_map(|check| {
        let judged = (check.judge)(facts);
        judged.into_iter().map(|(subject, judgement)| Finding::about(&check.about, subject, judgement))
    });
    Report::new(target, findings.chain(packages::judge(facts, against)).chain(trust::judge(facts, against.trust)).collect())
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

pub use packages::{AGE_DAYS_MAX, VULNERABILITIES_MAX};

#[cfg(test)]
mod tests;
