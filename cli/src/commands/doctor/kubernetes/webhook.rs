//! The injector: its webhook, its certificates, and its policy in the API server.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::objects::{EndpointSlice, Policy, Requirement, Selector, Webhook, WebhookConfiguration};
use crate::{
    commands::doctor::{Checks, certificate},
    output::age,
};

/// What every injector's webhook is called.
const WEBHOOK: &str = "inject.coffer.dev";
/// The annotation that a policy of ours is about.
const INJECT: &str = "coffer.dev/inject";
/// The label with a namespace's own name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// A certificate of which less than this part is left should have been renewed: that is done with a third left.
const CERTIFICATE_PARTS: i64 = 4;
/// How the injector comes into a cluster.
const INSTALL: &str = "helm upgrade --install coffer charts/coffer --namespace coffer --create-namespace (docs/injector.md)";

/// An injector, as the API server knows it.
pub(super) struct Injector<'a> {
    /// The configuration's name, which is the deployment's as well.
    pub(super) name: &'a str,
    webhook: &'a Webhook,
}

impl Injector<'_> {
    /// The namespace and name of its service.
    pub(super) fn service(&self) -> (&str, &str) {
        let service = self.webhook.client_config.service.as_ref();
        service.map_or(("", self.name), |service| (service.namespace.as_str(), service.name.as_str()))
    }

    /// Whether pods of a namespace are never injected.
    pub(super) fn leaves_out(&self, namespace: &str) -> bool {
        let mut requirements = self.webhook.namespace_selector.match_expressions.iter();
        requirements.any(|requirement| {
            requirement.key == NAMESPACE_LABEL
                && match requirement.operator.as_str() {
                    "NotIn" => requirement.values.iter().any(|value| value == namespace),
                    "In" => requirement.values.iter().all(|value| value != namespace),
                    _ => false,
                }
        })
    }

    fn believed(&self) -> Option<String> {
        decoded(&self.webhook.client_config.ca_bundle).filter(|bundle| !bundle.is_empty())
    }

    fn restart(&self) -> String {
        format!("kubectl -n {} rollout restart deployment/{}", self.service().0, self.name)
    }
}

/// Every injector that there is.
pub(super) fn injectors(configurations: &[WebhookConfiguration]) -> Vec<Injector<'_>> {
    let found = configurations.iter().filter_map(|configuration| {
        let webhook = configuration.webhooks.iter().find(|webhook| webhook.name == WEBHOOK)?;
        Some(Injector { name: &configuration.metadata.name, webhook })
    });
    found.collect()
}

/// Whether they are there, ask for what they should, and do not ask about the same pods.
pub(super) fn configured(injectors: &[Injector<'_>], checks: &mut Checks) {
    if injectors.is_empty() {
        return checks.fail("webhook", "there is no webhook of Coffer's: pods that ask for secrets get none", INSTALL);
    }
    for injector in injectors {
        let policy = &injector.webhook.failure_policy;
        if policy != "Fail" {
            let found =
                format!("{}: its failurePolicy is {policy}: while it is away, pods that ask start without", injector.name);
            checks.fail("webhook", found, "set failurePolicy: Fail, as the chart has it (helm upgrade)");
        }
    }
    let pairs =
        injectors.iter().enumerate().flat_map(|(index, one)| injectors.iter().skip(index + 1).map(move |other| (one, other)));
    for (one, other) in pairs {
        if overlap(&one.webhook.namespace_selector, &other.webhook.namespace_selector) {
            let found = format!("{} and {} are both asked about the same pods: one of them injects", one.name, other.name);
            checks.warn("webhook", found, "uninstall one, or give each its namespaces: injector.webhook.namespaceSelector");
        }
    }
}

/// Whether a namespace may be chosen by both. Where that cannot be told, it may.
fn overlap(one: &Selector, other: &Selector) -> bool {
    let of_labels = |selector: &Selector| -> Vec<Requirement> {
        let labels = selector.match_labels.iter();
        labels
            .map(|(key, value)| Requirement { key: key.clone(), operator: "In".to_owned(), values: vec![value.clone()] })
            .collect()
    };
    let (labels_one, labels_other) = (of_labels(one), of_labels(other));
    let all_one = || one.match_expressions.iter().chain(&labels_one);
    let all_other = || other.match_expressions.iter().chain(&labels_other);
    !all_one().any(|left| all_other().any(|right| excludes(left, right) || excludes(right, left)))
}

/// Whether nothing that fulfils the one fulfils the other.
fn excludes(left: &Requirement, right: &Requirement) -> bool {
    if left.key != right.key {
        return false;
    }
    let none = || left.values.iter().all(|value| !right.values.contains(value));
    let all = || left.values.iter().all(|value| right.values.contains(value));
    match (left.operator.as_str(), right.operator.as_str()) {
        ("In", "In") => none(),
        ("In", "NotIn") => all(),
        ("In" | "Exists", "DoesNotExist") => true,
        _ => false,
    }
}

/// Whether somebody answers for an injector.
pub(super) fn answers(injector: &Injector<'_>, slices: &[EndpointSlice], checks: &mut Checks) {
    let ready = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| endpoint.conditions.ready != Some(false))
        .count();
    let ((namespace, service), name) = (injector.service(), injector.name);
    match ready {
        0 => checks.fail(
            "webhook",
            format!("{name}: nobody answers at its service {service} in {namespace}: pods that ask are refused"),
            format!("kubectl -n {namespace} get pods -l app.kubernetes.io/component=injector, and their logs, say why"),
        ),
        ready => checks.ok("webhook", format!("{name} in {namespace}: {ready} ready")),
    }
}

/// What the Secret of an injector's certificates shows: nothing that is secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) ca: String,
    pub(super) certificate: String,
}

impl Shown {
    /// Reads two parts of a Secret, in Base64, with a space between them.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (ca, certificate) = text.trim().split_once(' ')?;
        Some(Self { ca: decoded(ca)?, certificate: decoded(certificate)? })
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
}

/// Whether the API server believes an injector's CA, as its Secret has it.
pub(super) fn believes(injector: &Injector<'_>, shown: Option<&Shown>) -> bool {
    let believed = injector.believed();
    believed.is_some_and(|believed| shown.is_none_or(|shown| believed.trim() == shown.ca.trim()))
}

/// Says whether the API server believes an injector, and for how long.
pub(super) fn certificates(injector: &Injector<'_>, shown: Option<&Shown>, now: Timestamp, checks: &mut Checks) {
    let name = injector.name;
    // The injector writes it anew when it looks, which it does every ten seconds at least.
    let next = format!("the injector writes it where it runs; where it stays so: {}", injector.restart());
    if injector.believed().is_none() {
        return checks.fail("webhook CA", format!("{name}: the webhook has no caBundle: the API server believes nobody"), next);
    }
    if !believes(injector, shown) {
        let found = format!("{name}: the webhook's caBundle is not ca.crt of the Secret {name}-tls: pods that ask are refused");
        return checks.fail("webhook CA", found, next);
    }
    let Some(shown) = shown else { return };
    let Some(dates) = certificate::of_text(&shown.certificate).ok().and_then(|all| all.into_iter().next()) else {
        return checks.fail(
            "webhook CA",
            format!("{name}: tls.crt of the Secret {name}-tls is no certificate"),
            injector.restart(),
        );
    };
    let (life, left) = (dates.until.as_second() - dates.from.as_second(), dates.until.as_second() - now.as_second());
    let next = format!("kubectl -n {} logs deployment/{name} says why it is not renewed", injector.service().0);
    let span = age(left.unsigned_abs());
    if left <= 0 {
        checks.fail("webhook CA", format!("{name}: the webhook's certificate ended {span} ago"), next);
    } else if left < life / CERTIFICATE_PARTS {
        checks.warn(
            "webhook CA",
            format!("{name}: the webhook's certificate ends in {span}, and should have been renewed"),
            next,
        );
    } else {
        checks.ok("webhook CA", format!("{name}: the API server believes the webhook, whose certificate is good for {span}"));
    }
}

/// Whether the API server itself refuses pods that got past the webhook.
pub(super) fn policies(policies: &[Policy], checks: &mut Checks) {
    let ours = policies.iter().find(|policy| {
        policy.kind == "ValidatingAdmissionPolicy"
            && policy.spec.match_conditions.iter().any(|condition| condition.expression.contains(INJECT))
    });
    let next = "helm upgrade with injector.admissionPolicy.enabled=true makes it again";
    let Some(policy) = ours else {
        let found = "there is no ValidatingAdmissionPolicy of Coffer's: a forged pod, or one past the webhook, starts without";
        return checks.fail("admission policy", found, next);
    };
    let name = &policy.metadata.name;
    let denies = |binding: &&Policy| {
        binding.kind == "ValidatingAdmissionPolicyBinding"
            && binding.spec.policy_name == *name
            && binding.spec.validation_actions.iter().any(|action| action == "Deny")
    };
    if policy.spec.failure_policy != "Fail" {
        let found = format!("{name}: its failurePolicy is {}", policy.spec.failure_policy);
        checks.fail("admission policy", found, next);
    } else if policies.iter().find(denies).is_none() {
        checks.fail("admission policy", format!("{name}: no ValidatingAdmissionPolicyBinding has it deny anything"), next);
    } else {
        checks.ok("admission policy", format!("{name} refuses what gets past the webhook"));
    }
}

#[cfg(test)]
mod tests;
