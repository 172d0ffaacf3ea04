use std::collections::HashSet;

use coffer_checks::Status;

use super::*;
use crate::facts::{Kind, LayerFacts, Outcome, Place, Remark, Secret};

fn read_layer() -> LayerFacts {
    LayerFacts { name: "sha256:1".into(), outcome: Outcome::Read, files: 1, bytes: 1, is_partial: false }
}

fn clean() -> Facts {
    let mut facts = Facts { layers: vec![read_layer()], ..Facts::default() };
    facts.config.config.user = Some("65532".into());
    facts
}

fn statuses(facts: &Facts, id: &str) -> Vec<Status> {
    judge("image", facts).findings.iter().filter(|finding| finding.check.id == id).map(|finding| finding.status).collect()
}

fn rule(id: &str) -> &'static crate::Rule {
    crate::rules().find(|rule| rule.id == id).unwrap()
}

fn secret(id: &str, place: Place, gone_in: Option<usize>) -> Secret {
    Secret { kind: Kind::Known(rule(id)), place, line: Some(3), gone_in }
}

fn file() -> Place {
    Place::File { layer: 1, path: "app/x".into(), within: String::new() }
}

#[test]
fn ids_are_different() {
    let mut seen = HashSet::new();
    for check in catalogue() {
        assert!(seen.insert(check.id), "{}", check.id);
    }
}

#[test]
fn a_clean_image_fails_nothing_that_gates() {
    let report = judge("image", &clean());
    assert_eq!(report.worst(), None, "{report:?}");
}

#[test]
fn each_place_of_a_secret_has_its_check() {
    for (id, place, check) in [
        ("private-key", file(), "IMG-01"),
        ("github-token", file(), "IMG-02"),
        ("github-token", Place::Env("X".into()), "IMG-03"),
        ("private-key", Place::History(1), "IMG-04"),
        ("github-token", Place::Label("x".into()), "IMG-05"),
        ("github-token", Place::Command("command"), "IMG-06"),
        ("secret-value", file(), "IMG-08"),
    ] {
        let facts = Facts { secrets: vec![secret(id, place, None)], ..clean() };
        let failed: Vec<_> =
            judge("image", &facts).findings.iter().filter(|found| found.counts()).map(|found| found.check.id).collect();
        assert_eq!(failed, [check], "{id}");
    }
}

#[test]
fn what_a_later_layer_hides_is_told_with_that_layer() {
    let facts = Facts { secrets: vec![secret("private-key", file(), Some(2))], ..clean() };
    let report = judge("image", &facts);
    let told: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.counts())
        .map(|finding| (finding.check.id, finding.evidence.as_str()))
        .collect();
    let evidence = "a private key (private-key), line 3; layer 2 hides it, and it is pulled all the same";
    assert_eq!(told, [("IMG-01", evidence), ("IMG-09", evidence)]);
}

#[test]
fn what_was_not_read_is_unknown_and_never_passes() {
    let unread = LayerFacts { outcome: Outcome::Unread("cut off".into()), ..read_layer() };
    let facts = Facts { layers: vec![read_layer(), unread], ..clean() };
    for id in ["IMG-01", "IMG-02", "IMG-07", "IMG-09", "IMG-26", "IMG-38"] {
        assert_eq!(statuses(&facts, id), [Status::Unknown], "{id}");
    }
    assert_eq!(statuses(&facts, "IMG-43"), [Status::Fail]);
    assert_eq!(statuses(&Facts::default(), "IMG-43"), [Status::Unknown]);
}

#[test]
fn layers_that_are_wrong_fail_by_name() {
    for (outcome, id) in [(Outcome::Malformed("a bomb".into()), "IMG-41"), (Outcome::WrongDigest("another".into()), "IMG-42")] {
        let facts = Facts { layers: vec![LayerFacts { outcome, ..read_layer() }], ..clean() };
        assert_eq!(statuses(&facts, id), [Status::Fail], "{id}");
        assert_eq!(statuses(&clean(), id), [Status::Pass], "{id}");
    }
}

#[test]
fn users_and_programs_are_judged() {
    for (user, status) in
        [("", Status::Fail), ("0:0", Status::Fail), ("root", Status::Fail), ("app", Status::Pass), ("1000:1", Status::Pass)]
    {
        let mut facts = clean();
        facts.config.config.user = Some(user.into());
        assert_eq!(statuses(&facts, "IMG-14"), [status], "{user}");
    }
    let with = |path: &str| Facts { files: [(path.to_owned(), [Remark::SetId].into())].into(), ..clean() };
    assert_eq!(statuses(&with("usr/bin/passwd"), "IMG-26"), [Status::Pass]);
    assert_eq!(statuses(&with("app/passwd"), "IMG-26"), [Status::Fail]);
}

#[test]
fn the_history_tells_how_it_was_made() {
    let made = |step: &str| {
        let mut facts = clean();
        facts.config.history = vec![crate::History { created_by: Some(step.into()), ..crate::History::default() }];
        facts
    };
    for (step, status) in [
        ("RUN curl -fsSL https://x/install | sh", Status::Fail),
        ("RUN wget -qO- https://x | sudo bash -s", Status::Fail),
        ("RUN curl https://x | tee a | bash", Status::Fail),
        ("RUN curl -o x https://x && cat y | sort", Status::Pass),
        ("RUN echo x | sh", Status::Pass),
    ] {
        assert_eq!(statuses(&made(step), "IMG-31"), [status], "{step}");
    }
    assert_eq!(statuses(&clean(), "IMG-31"), [Status::Unknown]);
    assert_eq!(statuses(&made("ADD https://x /x"), "IMG-29"), [Status::Fail]);
    assert_eq!(statuses(&made("ADD --checksum=sha256:1 https://x /x"), "IMG-29"), [Status::Pass]);
}
