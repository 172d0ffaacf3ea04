//! `PreviewService`: what a change would take from running pods.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::{action::Action, policy::Resource, principal::Name};
use coffer_proto::v1::{
    self as proto, PreviewChangeRequest, PreviewChangeResponse, PreviewedLoss, PreviewedPod, preview_change_request::Change,
    preview_service_server::PreviewService,
};
use coffer_vault::{Failure, Loss, Planned, Preview, Proposal};

use super::{advisory, convert, service};
use crate::{
    pipeline::{Call, Operation, permit},
    rpc::{self, Rpc},
};

service! { PreviewService:
    preview_change(PreviewChangeRequest) -> PreviewChangeResponse = PreviewChange;
}

struct PreviewChange(Proposal);

fn wire(preview: Preview) -> PreviewChangeResponse {
    let loss = |Loss { action, path, held, why }: Loss| PreviewedLoss {
        action: action.to_string(),
        path: path.to_string(),
        held: held.name().to_owned(),
        why,
    };
    let pod = |pod: coffer_vault::PreviewedPod| {
        let (cluster, namespace, name) = pod.name;
        PreviewedPod {
            cluster,
            namespace,
            name,
            image_before: pod.before.name().to_owned(),
            image_after: pod.after.name().to_owned(),
            losses: pod.losses.into_iter().map(loss).collect(),
        }
    };
    PreviewChangeResponse {
        pods: preview.pods.into_iter().map(pod).collect(),
        further_pods: convert::count(preview.further),
        pods_seen: convert::count(preview.seen),
        pods_passing: convert::count(preview.passing),
        pods_failing: convert::count(preview.failing),
    }
}

#[async_trait]
impl Operation for PreviewChange {
    type Request = PreviewChangeRequest;
    type Response = PreviewChangeResponse;
    const RPC: Rpc = rpc::PREVIEW_CHANGE;

    fn parse(request: PreviewChangeRequest) -> Result<Self, Failure> {
        let name = |name: &str| -> Result<Name, Failure> { convert::name(name) };
        let change = request.change.ok_or_else(|| Failure::invalid("a preview is of one change"))?;
        Ok(Self(match change {
            Change::Import(request) => Proposal::Import(advisory::import(request)?),
            Change::RevokeVerdict(proto::VerdictChange { manifest, signer }) => {
                if !signer.is_empty() {
                    name(&signer)?;
                }
                Proposal::RevokeVerdict(super::gate::digest(&manifest)?, signer)
            }
            Change::RevokeGrant(id) => Proposal::RevokeGrant(convert::id(&id)?),
            Change::PutPolicy(policy) => Proposal::PutPolicy(name(&policy.name)?, policy.text),
            Change::DeletePolicy(policy) => Proposal::DeletePolicy(name(&policy)?),
        }))
    }

    fn details(&self) -> BTreeMap<String, String> {
        let (what, about) = match &self.0 {
            Proposal::Import(new) => ("import", new.scopes.keys().cloned().collect::<Vec<_>>().join(", ")),
            Proposal::RevokeVerdict(manifest, _) => ("revoke_verdict", manifest.to_string()),
            Proposal::RevokeGrant(id) => ("revoke_grant", id.to_string()),
            Proposal::PutPolicy(name, _) => ("put_policy", name.to_string()),
            Proposal::DeletePolicy(name) => ("delete_policy", name.to_string()),
        };
        BTreeMap::from([(what.to_owned(), about)])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PreviewChangeResponse>, Failure> {
        if matches!(self.0, Proposal::RevokeGrant(_) | Proposal::PutPolicy(..) | Proposal::DeletePolicy(_)) {
            permit(call, Action::PolicyRead, &Resource::System)?;
        }
        let preview = call.vault.preview(&call.who.caller, self.0.clone()).await?;
        Ok(Planned::read(wire(preview)))
    }
}
