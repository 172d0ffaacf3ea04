//! The pods that have a token for the vault.

use async_trait::async_trait;
use coffer_core::policy::{HostPosture, Switch};
use coffer_proto::v1::{self as proto, ListGatedPodsRequest, ListGatedPodsResponse};
use coffer_vault::{Failure, GatedGrant, GatedPod, Planned};

use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

pub(super) struct Pods {
    cluster: String,
    namespace: String,
    page: Page,
}

fn wire(gated: GatedPod) -> proto::GatedPod {
    let GatedPod { cluster, pod, context, images, grants } = gated;
    let containers = pod.workload.containers.iter().zip(images).map(|(container, image)| proto::GatedContainer {
        name: container.name.clone(),
        image: container.image.clone(),
        verdict: image.verdict.to_owned(),
        why: image.why,
        signers: image.signers,
    });
    let grant = |GatedGrant { grant, unmet }: GatedGrant| proto::GatedGrant {
        id: grant.id.to_string(),
        actions: grant.actions.iter().map(ToString::to_string).collect(),
        path: grant.path.to_string(),
        unmet,
    };
    let host = context.host.as_ref();
    proto::GatedPod {
        cluster,
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid.to_string(),
        service_account: pod.service_account,
        node: pod.node.unwrap_or_default(),
        level: context.workload.name().to_owned(),
        containers: containers.collect(),
        image: context.image.verdict.name().to_owned(),
        host: host.map_or(HostPosture::Unknown, |host| host.posture).name().to_owned(),
        swap: host.map_or(Switch::Unknown, |host| host.swap).name().to_owned(),
        grants: grants.into_iter().map(grant).collect(),
    }
}

#[async_trait]
impl Operation for Pods {
    type Request = ListGatedPodsRequest;
    type Response = ListGatedPodsResponse;
    const RPC: Rpc = rpc::LIST_GATED_PODS;

    fn parse(request: ListGatedPodsRequest) -> Result<Self, Failure> {
        let page = Page::parse(request.page_size, request.page_token)?;
        Ok(Self { cluster: request.cluster, namespace: request.namespace, page })
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListGatedPodsResponse>, Failure> {
        let list = format!("pods {} {}", self.cluster, self.namespace);
        let after = self.page.after(&call.vault, &list)?;
        let (pods, more) = call.vault.gated_pods(&self.cluster, &self.namespace, &after, self.page.size());
        let next_page_token = Page::next(&call.vault, &list, pods.last().map(|(name, _)| name.as_str()), more)?;
        Ok(Planned::read(ListGatedPodsResponse { pods: pods.into_iter().map(|(_, pod)| wire(pod)).collect(), next_page_token }))
    }
}
