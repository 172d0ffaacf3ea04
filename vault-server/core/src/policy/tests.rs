//! What the rules permit, and how they say so.

mod cache;
mod equivalence;
mod explain;
mod grants;
mod hostile;
mod roles;
mod texts;

use super::*;
use crate::clock::Timestamp;

/// Somebody who asks: `k8s:prod/a/b`, `operator:alice` with roles behind it (`operator:alice+admin`), or `bootstrap`.
fn caller(text: &str) -> Caller {
    let mut parts = text.split('+');
    let principal = match parts.next().unwrap() {
        "bootstrap" => Principal::Bootstrap,
        principal => principal.parse().unwrap(),
    };
    Caller { principal, roles: parts.map(|role| role.parse().unwrap()).collect() }
}

fn path(text: &str) -> Resource {
    Resource::Path(text.parse().unwrap())
}

fn grant(id: u8, actions: &str, path: &str, principal: &str) -> Grant {
    Grant {
        id: GrantId::from_bytes([id; 16]),
        actions: actions.split(' ').map(|action| action.parse().unwrap()).collect(),
        path: path.parse().unwrap(),
        principal: principal.parse().unwrap(),
        require: Requirement::default(),
    }
}

fn image(verdict: ImageVerdict) -> ImageFacts {
    ImageFacts { verdict, ..ImageFacts::default() }
}

fn host(posture: HostPosture, swap: Switch) -> Option<HostFacts> {
    Some(HostFacts { posture, swap, failing: Vec::new(), until: Timestamp::from_secs(2_000) })
}

fn context() -> Context {
    Context {
        now: Timestamp::from_secs(1_000),
        tenant: "default".to_owned(),
        seal: "shamir".to_owned(),
        pod: None,
        image: ImageFacts::default(),
        host: None,
        workload: PodSecurity::Unknown,
        until: None,
    }
}

fn policies(grants: impl IntoIterator<Item = Grant>, texts: &[&str]) -> Policies {
    let texts = texts.iter().enumerate().map(|(n, text)| (format!("p{n}").parse().unwrap(), (*text).to_owned()));
    Policies::compile(1, grants, texts).unwrap()
}

/// Asks with index and cache, then again from the cache, then plain Cedar: they must agree.
fn decide(policies: &Policies, who: &str, action: &str, resource: &Resource) -> Decision {
    decide_in(policies, who, action, resource, &context())
}

fn decide_in(policies: &Policies, who: &str, action: &str, resource: &Resource, context: &Context) -> Decision {
    let query = Query { caller: &caller(who), action: action.parse().unwrap(), resource, context };
    let decision = policies.decide(&query);
    assert_eq!(policies.decide(&query), decision, "the cache answers otherwise");
    assert_eq!(policies.decide_plain(&query), decision, "plain Cedar answers otherwise");
    assert_eq!(policies.explain(&query).permitted, decision.permitted, "the explanation says otherwise");
    decision
}

fn permits(policies: &Policies, who: &str, action: &str, resource: &str) -> bool {
    decide(policies, who, action, &path(resource)).permitted
}
