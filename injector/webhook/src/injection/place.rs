//! Where the files go in a pod, and whose they are.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{AGENT, CA_VOLUME, SECRETS_FOLDER, SECRETS_VOLUME, TEMPLATES_VOLUME, TOKEN_VOLUME, is_agent};
use crate::{
    Refusal,
    annotations::{Notify, Request},
};

/// The agent's user and group where the application's are not known, or are root's.
const NOBODY: u32 = 65_532;
/// The mode of files whose reader owns them, and of those whose reader is not known: they are in memory that the containers
/// meant alone have.
const OWN: &str = "0400";
const ANYBODY: &str = "0444";

/// Whose the agent is: the application's user, where that is known, so that it owns the files that the application reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Where the files go, and whose they are.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) folder: &'a str,
    pub(super) mode: &'a str,
    pub(super) agent: Owner,
    containers: Option<&'a BTreeSet<String>>,
}

impl<'a> Place<'a> {
    /// As a pod has it, and asks for it.
    pub(super) fn of(spec: &PodSpec, request: &'a Request) -> Result<Self, Refusal> {
        let folder = request.path.as_deref().unwrap_or(SECRETS_FOLDER);
        check_folder(folder)?;
        let mut place =
            Self { folder, mode: ANYBODY, agent: Owner { uid: NOBODY, gid: NOBODY }, containers: request.containers.as_ref() };
        for wanted in request.containers.iter().flatten() {
            if !containers(spec).any(|container| container.name == *wanted && !is_agent(container)) {
                return Err(Refusal::of("containers", format!("the pod has no container {wanted}")));
            }
        }
        if matches!(request.notify, Some(Notify::Signal { .. })) && spec.share_process_namespace == Some(false) {
            return Err(Refusal::of("notify-signal", "a signal needs shareProcessNamespace, which the pod has set to false"));
        }
        for container in containers(spec).filter(|container| place.has(container)) {
            let mounts = container.volume_mounts.iter().flatten().filter(|mount| mount.name != SECRETS_VOLUME);
            if let Some(mount) =
                mounts.into_iter().find(|mount| mount.mount_path.trim_end_matches('/') == folder.trim_end_matches('/'))
            {
                let why = format!("the container {} has the volume {} there already", container.name, mount.name);
                return Err(Refusal::of("path", format!("{folder}: {why}")));
            }
        }
        if let Some(owner) = place.reader(spec) {
            (place.agent, place.mode) = (owner, OWN);
        }
        if let Some((uid, gid)) = request.owner {
            // Nobody but root may give files away: the agent is the owner itself.
            place.agent = Owner { uid, gid: gid.unwrap_or(place.agent.gid) };
            place.mode = OWN;
            if uid == 0 {
                return Err(Refusal::of("owner", "the agent has the owner's user, and is never root"));
            }
        }
        if let Some(mode) = &request.mode {
            place.mode = mode;
        }
        Ok(place)
    }

    /// Whether a container gets the files.
    pub(super) fn has(&self, container: &Container) -> bool {
        !is_agent(container) && self.containers.is_none_or(|names| names.contains(&container.name))
    }

    /// The user that all containers with the files have, where they say so and it is not root.
    fn reader(&self, spec: &PodSpec) -> Option<Owner> {
        let of_pod = spec.security_context.as_ref();
        let mut readers = containers(spec).filter(|container| self.has(container)).map(|container| {
            let own = container.security_context.as_ref();
            let uid = own.and_then(|own| own.run_as_user).or_else(|| of_pod?.run_as_user);
            let gid = own.and_then(|own| own.run_as_group).or_else(|| of_pod?.run_as_group);
            Some(Owner {
                uid: u32::try_from(uid?).ok()?,
                gid: gid.and_then(|gid| u32::try_from(gid).ok()).filter(|gid| *gid > 0).unwrap_or(NOBODY),
            })
        });
        let first = readers.next()??;
        (first.uid > 0 && readers.all(|reader| reader.is_some_and(|reader| reader.uid == first.uid))).then_some(first)
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// A folder that a container can have.
fn check_folder(folder: &str) -> Result<(), Refusal> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let good = folder.strip_prefix('/').is_some_and(|rest| rest.trim_end_matches('/').split('/').all(plain));
    if good && !folder.contains([':', '\n']) {
        Ok(())
    } else {
        Err(Refusal::of("path", format!("{folder:?} is no folder: write it from / on, without . and ..")))
    }
}

/// Fails where the pod has something of its own under a name of ours.
pub(super) fn check_free(spec: &PodSpec) -> Result<(), Refusal> {
    if containers(spec).any(is_agent) {
        return Err(Refusal::new(format!("the pod has a container {AGENT}, which is the agent's name: rename it")));
    }
    let ours = [SECRETS_VOLUME, TOKEN_VOLUME, CA_VOLUME, TEMPLATES_VOLUME];
    match spec.volumes.iter().flatten().find(|volume| ours.contains(&volume.name.as_str())) {
        Some(volume) => Err(Refusal::new(format!("the pod has a volume {}, which is the agent's: rename it", volume.name))),
        None => Ok(()),
    }
}

/// Fails where a pod says that it was injected, and something is missing.
pub(super) fn check_injected(spec: &PodSpec) -> Result<(), Refusal> {
    let agent = spec.init_containers.iter().flatten().any(is_agent);
    let has = |name: &str| spec.volumes.iter().flatten().any(|volume| volume.name == name);
    if agent && has(SECRETS_VOLUME) && has(TOKEN_VOLUME) && has(CA_VOLUME) {
        Ok(())
    } else {
        Err(Refusal::of("status", "it says that the agent is there, which is not so: take the annotation away"))
    }
}
