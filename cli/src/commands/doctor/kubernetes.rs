//! `coffer doctor --kubernetes`: what may be wrong between the vault and the pods of a cluster.
//!
//! Objects are read with `kubectl`, so with the rights of whoever asks, and looked at by functions without I/O. What cannot be read is
//! said to be skipped, and the rest is looked at all the same.

mod authorities;
mod objects;
mod pods;
mod reading;
mod vault;
mod webhook;

use jiff::Timestamp;

use self::{
    objects::{EndpointSlice, List, Pod, Policy, SelfReview, WebhookConfiguration},
    webhook::{Injector, Shown},
};
use super::{Checks, Doctor, apart};
use crate::{
    app::App,
    context::Target,
    kubectl::{Kubectl, Refused},
};

/// Agents whose log is asked for, at most.
const AGENT_LOGS_MAX: usize = 10;
/// Lines of a log that are asked for.
const AGENT_LOG_LINES: &str = "--tail=50";
/// The rights that all of this takes.
const RIGHTS: &str = "docs/injector.md#what-is-wrong has the ClusterRole that it takes";

/// How far the vault was reached.
#[derive(Default)]
pub(super) struct Reached {
    /// The vault, where it answers.
    pub(super) target: Option<Target>,
    /// Seconds that this machine's clock is before the vault's.
    pub(super) clock_secs: Option<i64>,
    /// Whether it can be asked about more.
    pub(super) is_unsealed: bool,
}

/// Looks at a cluster.
pub(super) async fn look(app: &App, asked: &Doctor, reached: &Reached, checks: &mut Checks) {
    let kubectl = Kubectl::new(asked.kube_context.clone());
    if !someone(&kubectl, reached, checks).await {
        return;
    }
    let configurations: Option<List<WebhookConfiguration>> =
        read(&kubectl, "webhook", &["get", "mutatingwebhookconfigurations"], checks).await;
    let injectors = configurations.as_ref().map(|list| webhook::injectors(&list.items));
    if let Some(injectors) = &injectors {
        webhook::configured(injectors, checks);
        for injector in injectors {
            of_injector(&kubectl, injector, app.out.view.now, checks).await;
        }
    }
    let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings";
    if let Some(list) = read::<List<Policy>>(&kubectl, "admission policy", &["get", kinds], checks).await {
        webhook::policies(&list.items, checks);
    }

    let namespace = asked.namespace.as_ref().map_or_else(|| "--all-namespaces".to_owned(), |name| format!("--namespace={name}"));
    let list: List<Pod> = match kubectl.json(&["get", "pods", &namespace]).await {
        Ok(list) => list,
        // Without pods there is nothing to be said of them, and that is not well.
        Err(Refused::Forbidden(why)) => {
            return checks.fail("injection", why, format!("--namespace NAMESPACE for one that you may see; {RIGHTS}"));
        }
        Err(refused) => return unread("injection", &format!("get pods {namespace}"), refused, checks),
    };
    let injectors = injectors.unwrap_or_default();
    let left_out = |namespace: &str| !injectors.is_empty() && injectors.iter().all(|injector| injector.leaves_out(namespace));
    pods::injection(&list.items, left_out, checks);
    let injected: Vec<&Pod> = list.items.iter().filter(|pod| pod.asks() && pod.lacks().is_empty()).collect();
    agents(&kubectl, &injected, checks).await;
    if injected.is_empty() {
        return;
    }
    authorities::look(app, &kubectl, &namespace, &injected, reached, checks).await;
    vault::look(app, &kubectl, asked.cluster.as_deref(), &injected, reached, checks).await;
}

/// Reads objects; where that cannot be, says so.
async fn read<T: serde::de::DeserializeOwned>(
    kubectl: &Kubectl,
    name: &'static str,
    arguments: &[&str],
    checks: &mut Checks,
) -> Option<T> {
    match kubectl.json(arguments).await {
        Ok(read) => Some(read),
        Err(refused) => {
            unread(name, &arguments.join(" "), refused, checks);
            None
        }
    }
}

fn unread(name: &'static str, what: &str, refused: Refused, checks: &mut Checks) {
    match refused {
        Refused::Forbidden(why) => checks.skip(name, format!("not looked at: {why}"), RIGHTS),
        Refused::NotFound => {
            checks.skip(name, format!("the cluster has nothing for `kubectl {what}`"), "Coffer wants Kubernetes 1.30 or newer")
        }
        Refused::Missing => checks.fail(name, "there is no kubectl", "install kubectl"),
        Refused::Failed(why) => checks.fail(name, format!("kubectl {what}: {why}"), format!("kubectl {what}")),
    }
}

/// Who asks, and what the API server's clock says. Everybody may ask for that; whether there is anybody to be asked more.
async fn someone(kubectl: &Kubectl, reached: &Reached, checks: &mut Checks) -> bool {
    const NAME: &str = "kubectl";
    let before = Timestamp::now();
    let review: Result<SelfReview, Refused> = kubectl.json(&["auth", "whoami"]).await;
    let after = Timestamp::now();
    match review {
        Ok(review) => {
            checks.ok(NAME, format!("it answers, to {}", review.status.user_info.username));
            let theirs = review.metadata.creation_timestamp.and_then(|time| time.parse().ok());
            let Some(ahead) = theirs.map(|theirs| ahead(before, theirs, after)) else { return true };
            // What counts is how far it is from the vault, which judges the tokens.
            match reached.clock_secs {
                Some(vault) => apart("cluster clock", ahead - vault, ["the vault's", "the API server's"], checks),
                None => apart("cluster clock", ahead, ["this machine's", "the API server's"], checks),
            }
            true
        }
        Err(Refused::Missing) => {
            checks.fail(
                NAME,
                "there is no kubectl on this machine",
                "install kubectl (https://kubernetes.io/docs/tasks/tools), or say PATH",
            );
            false
        }
        Err(Refused::Failed(why)) => {
            checks.fail(NAME, why, "kubectl config current-context tells the cluster; --kube-context names another");
            false
        }
        Err(refused) => {
            unread("cluster clock", "auth whoami", refused, checks);
            true
        }
    }
}

/// Seconds that this machine is before a clock of whole seconds which was read between two moments.
fn ahead(before: Timestamp, theirs: Timestamp, after: Timestamp) -> i64 {
    let (early, late) = (before.as_second() - theirs.as_second(), after.as_second() - theirs.as_second());
    if early > 0 { early } else { late.min(0) }
}

async fn of_injector(kubectl: &Kubectl, injector: &Injector<'_>, now: Timestamp, checks: &mut Checks) {
    let (namespace, service) = injector.service();
    let (namespace, label) = (format!("--namespace={namespace}"), format!("--selector=kubernetes.io/service-name={service}"));
    let slices: Option<List<EndpointSlice>> =
        read(kubectl, "webhook", &["get", "endpointslices", &namespace, &label], checks).await;
    if let Some(slices) = slices {
        webhook::answers(injector, &slices.items, checks);
    }
    let secret = format!("secret/{}-tls", injector.name);
    // The keys stay where they are.
    let parts = "--output=jsonpath={.data.ca\\.crt} {.data.tls\\.crt}";
    match kubectl.text(&["get", &secret, &namespace, parts]).await {
        Ok(text) => webhook::certificates(injector, Shown::read(&text).as_ref(), now, checks),
        Err(Refused::NotFound) => {
            let next = format!("kubectl {namespace} logs deployment/{} says why it was not made", injector.name);
            checks.fail("webhook CA", format!("{}: there is no Secret {}-tls", injector.name, injector.name), next);
        }
        Err(refused) => {
            webhook::certificates(injector, None, now, checks);
            unread("webhook CA", &format!("get {secret}"), refused, checks);
        }
    }
}

/// How agents are, with the word of those that are not ready.
async fn agents(kubectl: &Kubectl, injected: &[&Pod], checks: &mut Checks) {
    let (mut good, mut asked) = (0_usize, 0_usize);
    for pod in injected {
        let agent = pods::agent(pod);
        if agent == pods::Agent::Good {
            good += 1;
            continue;
        }
        let mut said = None;
        if asked < AGENT_LOGS_MAX {
            asked += 1;
            let (namespace, name) = (format!("--namespace={}", pod.metadata.namespace), format!("pod/{}", pod.metadata.name));
            // Where it has not begun there is none.
            let log = kubectl.text(&["logs", &name, &namespace, "--container=coffer", AGENT_LOG_LINES]).await;
            said = log.ok().and_then(|log| pods::complaint(&log));
        }
        pods::say_agent(pod, &agent, said.as_deref(), checks);
    }
    match good {
        0 => {}
        1 => checks.ok("agent", "1 agent has written its files"),
        good => checks.ok("agent", format!("{good} agents have written their files")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_between_two_moments() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(ahead(at(100), at(100), at(103)), 0);
        assert_eq!(ahead(at(100), at(102), at(103)), 0);
        assert_eq!(ahead(at(100), at(90), at(103)), 10);
        assert_eq!(ahead(at(100), at(163), at(103)), -60);
    }

    #[test]
    fn what_may_not_be_seen_is_skipped_and_what_fails_is_not() {
        let mut checks = Checks::default();
        unread("webhook", "get x", Refused::Forbidden("no".into()), &mut checks);
        unread("webhook", "get x", Refused::NotFound, &mut checks);
        unread("webhook", "get x", Refused::Failed("no".into()), &mut checks);
        let states: Vec<_> = checks.0.iter().map(|check| check.state).collect();
        assert_eq!(states, [super::super::State::Skip, super::super::State::Skip, super::super::State::Fail]);
        assert!(checks.0.iter().all(|check| check.next.is_some()), "{checks:?}");
    }
}
