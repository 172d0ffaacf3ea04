//! Secrets in what an image says of itself: its environment, labels, commands and history.

use crate::{
    facts::{Kind, Place, Secret},
    secrets::{Scanner, is_secret_value},
    source::Image,
};

/// Looks through the configuration and the manifest.
pub(crate) fn gather(image: &Image, scanner: &mut Scanner, secrets: &mut Vec<Secret>) {
    let run = &image.config.config;
    let mut look = |place: &Place, text: &str, secrets: &mut Vec<Secret>| {
        let found = scanner.text(text);
        let is_sure = found.iter().any(|found| found.what.is_sure());
        secrets.extend(found.into_iter().map(|found| Secret {
            kind: found.what.into(),
            place: place.clone(),
            line: None,
            gone_in: None,
        }));
        is_sure
    };
    for variable in run.env.iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        let place = Place::Env(name.to_owned());
        if !look(&place, variable, secrets) && is_secret_value(name, value) {
            secrets.retain(|secret| secret.place != place);
            secrets.push(Secret { kind: Kind::Variable, place, line: None, gone_in: None });
        }
    }
    let labels = run.labels.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in labels.chain(image.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
        look(&Place::Label(name.to_owned()), &format!("{name}={value}"), secrets);
    }
    let commands = [
        ("entrypoint", run.entrypoint.as_deref()),
        ("command", run.cmd.as_deref()),
        ("health check", run.healthcheck.as_ref().and_then(|health| health.test.as_deref())),
        ("on build", run.on_build.as_deref()),
    ];
    for (name, words) in commands {
        look(&Place::Command(name), &words.unwrap_or_default().join(" "), secrets);
    }
    for (number, step) in image.config.history.iter().enumerate() {
        for text in [&step.created_by, &step.comment].into_iter().flatten() {
            look(&Place::History(number + 1), text, secrets);
        }
    }
}
