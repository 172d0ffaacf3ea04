//! Pods that ask for secrets: whether they have what the injector gives, and how their agents are.

use std::collections::BTreeMap;

use super::objects::{Container, ContainerStatus, Pod};
use crate::commands::doctor::Checks;

/// The agent's container.
const AGENT: &str = "coffer";
/// The memory that its files are in.
const SECRETS_VOLUME: &str = "coffer-secrets";
/// Its token.
const TOKEN_VOLUME: &str = "coffer-token";
/// The vault's CA certificates.
const CA_VOLUME: &str = "coffer-ca";
/// Names of pods that a line has; of more it says how many there are.
const NAMES_MAX: usize = 3;
/// What a container waits for that has only begun.
const BEGINNING: [&str; 2] = ["PodInitializing", "ContainerCreating"];

impl Pod {
    /// Whether it asks for injection, and is not at its end.
    pub(super) fn asks(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && self.annotation("inject") == "true"
    }

    /// Whether its containers run, or are to.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    fn annotation(&self, name: &str) -> &str {
        self.metadata.annotations.get(&format!("coffer.dev/{name}")).map_or("", String::as_str)
    }

    pub(super) fn agent(&self) -> Option<&Container> {
        self.spec.init_containers.iter().find(|container| container.name == AGENT)
    }

    /// The ConfigMap with the vault's CA certificates.
    pub(super) fn ca_config_map(&self) -> Option<&str> {
        let volume = self.spec.volumes.iter().find(|volume| volume.name == CA_VOLUME)?;
        Some(&volume.config_map.as_ref()?.name)
    }

    /// The audience of the agent's token.
    pub(super) fn audience(&self) -> Option<&str> {
        let volume = self.spec.volumes.iter().find(|volume| volume.name == TOKEN_VOLUME)?;
        let mut sources = volume.projected.as_ref()?.sources.iter();
        sources.find_map(|source| Some(source.service_account_token.as_ref()?.audience.as_str()))
    }

    /// What it lacks of the injection that it asked for: what the policy in the API server looks at.
    pub(super) fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut want = |there: bool, what: &str| {
            if !there {
                lacks.push(what.to_owned());
            }
        };
        want(self.annotation("status") == "injected", "the injector's mark");
        let is_agent = |agent: &Container| match agent.args.first().map(String::as_str) {
            Some("init") => true,
            Some("sidecar") => agent.restart_policy == "Always",
            _ => false,
        };
        want(self.agent().is_some_and(is_agent), "the agent's container");
        let volume = |name: &str| self.spec.volumes.iter().find(|volume| volume.name == name);
        let memory = volume(SECRETS_VOLUME).and_then(|volume| volume.empty_dir.as_ref());
        want(memory.is_some_and(|memory| memory.medium == "Memory"), "the memory of its files");
        want(volume(TOKEN_VOLUME).is_some_and(|volume| volume.projected.is_some()), "the agent's token");
        let mut others =
            self.spec.init_containers.iter().filter(|container| container.name != AGENT).chain(&self.spec.containers);
        let more = |mount: &super::objects::Mount| mount.name == TOKEN_VOLUME || mount.name == SECRETS_VOLUME && !mount.read_only;
        let guest = others.find(|container| container.volume_mounts.iter().any(more));
        if let Some(guest) = guest {
            lacks.push(format!("that only the agent has its token and writes its files: {} does as well", guest.name));
        }
        let mut containers = self.spec.init_containers.iter().chain(&self.spec.containers);
        let is_loose = |container: &&Container| !container.image.contains("@sha256:");
        if self.annotation("pin-images") == "true"
            && let Some(loose) = containers.find(is_loose)
        {
            lacks.push(format!("the digest of the image of {}", loose.name));
        }
        lacks
    }

    /// What made it, as kubectl calls it: `deployment/web`.
    fn owner(&self) -> String {
        let Some(owner) = self.metadata.owner_references.first() else { return format!("pod/{}", self.metadata.name) };
        let hash = self.metadata.labels.get("pod-template-hash").map(|hash| format!("-{hash}"));
        match (owner.kind.as_str(), hash.and_then(|hash| owner.name.strip_suffix(&hash))) {
            ("ReplicaSet", Some(deployment)) => format!("deployment/{deployment}"),
            (kind, _) => format!("{}/{}", kind.to_lowercase(), owner.name),
        }
    }

    /// How it is made anew.
    fn renewal(&self) -> String {
        let (namespace, name, owner) = (&self.metadata.namespace, &self.metadata.name, self.owner());
        match owner.split('/').next() {
            Some("deployment" | "statefulset" | "daemonset") => format!("kubectl -n {namespace} rollout restart {owner}"),
            Some("pod") => format!("kubectl -n {namespace} delete pod {name}, and create it again"),
            _ => format!("kubectl -n {namespace} delete pod {name}: {owner} makes another"),
        }
    }
}

/// Pods of one owner that have the same to be said.
#[derive(Default)]
struct Alike<'a> {
    pods: Vec<&'a Pod>,
}

impl Alike<'_> {
    /// `shop/deployment/web (web-1, web-2 and 4 more)`.
    fn names(&self) -> String {
        let Some(first) = self.pods.first() else { return String::new() };
        let (owner, namespace) = (first.owner(), &first.metadata.namespace);
        let mut names: Vec<String> = self.pods.iter().take(NAMES_MAX).map(|pod| pod.metadata.name.clone()).collect();
        if owner.starts_with("pod/") {
            return format!("pod {} in {namespace}", names.join(", "));
        }
        if self.pods.len() > NAMES_MAX {
            names.push(format!("and {} more", self.pods.len() - NAMES_MAX));
        }
        format!("{owner} in {namespace} ({})", names.join(", "))
    }
}

/// Pods that asked and have not got what they asked for. `left_out` tells namespaces in which nothing is injected.
pub(super) fn injection(pods: &[Pod], left_out: impl Fn(&str) -> bool, checks: &mut Checks) {
    let (mut lacking, mut good): (BTreeMap<(String, String, String), Alike<'_>>, usize) = (BTreeMap::new(), 0);
    for pod in pods.iter().filter(|pod| pod.asks() && pod.is_alive()) {
        let lacks = pod.lacks();
        if lacks.is_empty() {
            good += 1;
        } else {
            let key = (pod.metadata.namespace.clone(), pod.owner(), lacks.join(", "));
            lacking.entry(key).or_default().pods.push(pod);
        }
    }
    for ((namespace, _, lacks), alike) in &lacking {
        let Some(first) = alike.pods.first() else { continue };
        let next = match left_out(namespace) {
            true => format!("nothing is injected in {namespace}: put it into another namespace"),
            false => format!("with a webhook that is well: {}", first.renewal()),
        };
        checks.fail("injection", format!("{} asked for secrets, and lacks {lacks}", alike.names()), next);
    }
    if lacking.is_empty() {
        let found = match good {
            0 => "no pod asks for secrets".to_owned(),
            1 => "1 pod asks for secrets, and has its agent".to_owned(),
            good => format!("{good} pods ask for secrets, and have their agents"),
        };
        checks.ok("injection", found);
    }
}

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Agent {
    /// The files are there.
    Good,
    /// It has not written them yet, and this is known of why.
    Starting(String),
    /// It cannot.
    Broken(String),
}

/// How the agent of an injected pod is, as far as Kubernetes tells.
pub(super) fn agent(pod: &Pod) -> Agent {
    let Some(status) = pod.status.init_container_statuses.iter().find(|status| status.name == AGENT) else {
        let unscheduled =
            pod.status.conditions.iter().find(|condition| condition.kind == "PodScheduled" && condition.status == "False");
        return Agent::Starting(unscheduled.map_or_else(|| "it has not begun".to_owned(), |condition| condition.message.clone()));
    };
    if pod.status.phase == "Succeeded" {
        return Agent::Good;
    }
    let is_sidecar = pod.agent().is_some_and(|agent| agent.restart_policy == "Always");
    if let Some(ended) = &status.state.terminated {
        // A sidecar that ended well has been told to.
        return if ended.exit_code == 0 { Agent::Good } else { Agent::Broken(ended_with(ended.exit_code, &ended.message)) };
    }
    if let Some(waiting) = &status.state.waiting {
        return match BEGINNING.contains(&waiting.reason.as_str()) {
            true => Agent::Starting(waiting.reason.clone()),
            false => Agent::Broken(before(status).unwrap_or_else(|| with(&waiting.reason, &waiting.message))),
        };
    }
    match is_sidecar && status.started {
        true => Agent::Good,
        false => Agent::Starting(before(status).unwrap_or_else(|| "it has not written the files yet".to_owned())),
    }
}

/// How it ended the last time.
fn before(status: &ContainerStatus) -> Option<String> {
    status.last_state.terminated.as_ref().map(|ended| ended_with(ended.exit_code, &ended.message))
}

fn ended_with(code: i32, message: &str) -> String {
    // docs/agent.md has them.
    let meaning = match code {
        2 => "settings that it cannot use",
        3 => "the vault was not reached in time",
        4 => "the vault refused",
        5 => "files that cannot be written",
        _ => "",
    };
    let told = if message.trim().is_empty() { meaning } else { message.trim() };
    with(&format!("it ended with {code}"), told)
}

fn with(what: &str, more: &str) -> String {
    if more.is_empty() { what.to_owned() } else { format!("{what}: {more}") }
}

/// The last thing that went wrong, of an agent's log: a line of its own, or what it said at its end.
pub(super) fn complaint(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        if let Some(said) = line.trim().strip_prefix("coffer-agent: ") {
            return Some(said.to_owned());
        }
        ["ERROR", "WARN"].iter().find_map(|level| Some(line.split_once(&format!(" {level} "))?.1.trim().to_owned()))
    })
}

/// The command that helps, where what an agent said names one.
fn named_command(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("coffer grant ")?;
    let end = rest.find([')', '"', '\n', ';']).unwrap_or(rest.len());
    let begin = said.len() - rest.len() - "coffer grant ".len();
    said.get(begin..begin + "coffer grant ".len() + end)
}

/// Says how the agents of a pod are, with what its log says.
pub(super) fn say_agent(pod: &Pod, agent: &Agent, said: Option<&str>, checks: &mut Checks) {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let (known, is_broken) = match agent {
        Agent::Good => return,
        Agent::Starting(known) => (known, said.is_some()),
        Agent::Broken(known) => (known, true),
    };
    let why = said.unwrap_or(known);
    let found = format!("pod {name} in {namespace}: the agent is not ready: {why}");
    let next = named_command(why).map_or_else(|| format!("kubectl -n {namespace} logs {name} -c {AGENT}"), str::to_owned);
    // What has ended for good is not mended any more.
    match is_broken && pod.is_alive() {
        true => checks.fail("agent", found, next),
        false => checks.warn("agent", found, next),
    }
}

#[cfg(test)]
mod tests;
