//! `ClusterService`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use coffer_core::principal::Name;
use coffer_proto::v1::{
    ApiServer, Cluster, ClusterSettings as WireSettings, ConfirmPodLossRequest, ConfirmPodLossResponse, CreateClusterRequest,
    CreateClusterResponse, DeleteClusterRequest, DeleteClusterResponse, GetClusterRequest, GetClusterResponse, JwksUrl,
    KeySource, ListClustersRequest, ListClustersResponse, PodCheck as WirePodCheck, UpdateClusterRequest, UpdateClusterResponse,
    cluster_service_server::ClusterService, key_source::Source,
};
use coffer_vault::{
    ApiServerRecord, ClusterRecord, ClusterRuntime, ClusterSettings, Failure, KeySourceRecord, Planned, PodCheck, Row, Unsealed,
    etag,
};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// The audience of tokens where a cluster's settings name none.
const AUDIENCE_DEFAULT: &str = "coffer";

service! { ClusterService:
    create_cluster(CreateClusterRequest) -> CreateClusterResponse = Create;
    get_cluster(GetClusterRequest) -> GetClusterResponse = Get;
    list_clusters(ListClustersRequest) -> ListClustersResponse = List;
    update_cluster(UpdateClusterRequest) -> UpdateClusterResponse = Update;
    delete_cluster(DeleteClusterRequest) -> DeleteClusterResponse = Delete;
    confirm_pod_loss(ConfirmPodLossRequest) -> ConfirmPodLossResponse = ConfirmPodLoss;
}

fn parse_settings(settings: Option<WireSettings>) -> Result<WireSettings, Failure> {
    let mut settings = settings.ok_or_else(|| Failure::invalid("a cluster needs settings"))?;
    if settings.audience.is_empty() {
        AUDIENCE_DEFAULT.clone_into(&mut settings.audience);
    }
    to_settings(&settings)?;
    Ok(settings)
}

fn to_settings(wire: &WireSettings) -> Result<ClusterSettings, Failure> {
    let source = wire.keys.as_ref().and_then(|keys| keys.source.as_ref());
    let keys = match source {
        Some(Source::Jwks(text)) => KeySourceRecord::Jwks(text.clone()),
        Some(Source::Url(JwksUrl { url, ca_pem })) if url.starts_with("https://") => {
            KeySourceRecord::Url { url: url.clone(), ca_pem: ca_pem.clone() }
        }
        Some(Source::Url(_)) => return Err(Failure::invalid("keys are read from https URLs only")),
        Some(Source::ApiServer(true)) => KeySourceRecord::ApiServer,
        Some(Source::ApiServer(false)) | None => return Err(Failure::invalid("a cluster needs a source of keys")),
    };
    let api_server = wire.api_server.as_ref().map(|api| ApiServerRecord {
        url: api.url.clone(),
        ca_pem: api.ca_pem.clone(),
        token_file: api.token_file.clone(),
    });
    let api_server = match (&keys, api_server) {
        (KeySourceRecord::ApiServer, None) => {
            Some(ApiServerRecord { url: String::new(), ca_pem: String::new(), token_file: String::new() })
        }
        (_, api_server) => api_server,
    };
    let pod_check = match wire.pod_check() {
        WirePodCheck::Unspecified if api_server.is_some() => PodCheck::Cache,
        WirePodCheck::Unspecified | WirePodCheck::None => PodCheck::None,
        WirePodCheck::Cache => PodCheck::Cache,
        WirePodCheck::TokenReview => PodCheck::TokenReview,
    };
    Ok(ClusterSettings {
        issuer: wire.issuer.clone(),
        audience: wire.audience.clone(),
        keys,
        api_server,
        pod_check,
        node_agent: wire.node_agent.clone(),
    })
}

fn cluster(vault: &Unsealed, name: &str, row: &Row<ClusterRecord>, runtime: Option<&ClusterRuntime>) -> Cluster {
    let record = &row.value;
    let source = match &record.keys {
        KeySourceRecord::Jwks(text) => Source::Jwks(text.clone()),
        KeySourceRecord::Url { url, ca_pem } => Source::Url(JwksUrl { url: url.clone(), ca_pem: ca_pem.clone() }),
        KeySourceRecord::ApiServer => Source::ApiServer(true),
    };
    let pod_check = match record.pod_check {
        PodCheck::None => WirePodCheck::None,
        PodCheck::Cache => WirePodCheck::Cache,
        PodCheck::TokenReview => WirePodCheck::TokenReview,
    };
    let settings = WireSettings {
        issuer: record.issuer.clone(),
        audience: record.audience.clone(),
        keys: Some(KeySource { source: Some(source) }),
        api_server: record.api_server.as_ref().map(|api| ApiServer {
            url: api.url.clone(),
            ca_pem: api.ca_pem.clone(),
            token_file: api.token_file.clone(),
        }),
        pod_check: pod_check.into(),
        node_agent: record.node_agent.clone(),
    };
    Cluster {
        name: name.to_owned(),
        id: record.id.to_string(),
        settings: Some(settings),
        created: convert::time(record.created),
        key_ids: runtime.map(ClusterRuntime::key_ids).unwrap_or_default(),
        pod_cache: vault.pod_cache(record.id).to_owned(),
        etag: etag(row),
    }
}

fn about(name: &Name) -> BTreeMap<String, String> {
    BTreeMap::from([("cluster".to_owned(), name.to_string())])
}

struct Create {
    name: Name,
    settings: WireSettings,
    runtime: Option<Arc<ClusterRuntime>>,
}

#[async_trait]
impl Operation for Create {
    type Request = CreateClusterRequest;
    type Response = CreateClusterResponse;
    const RPC: Rpc = rpc::CREATE_CLUSTER;
    const CHANGES_VAULT: bool = true;

    fn parse(request: CreateClusterRequest) -> Result<Self, Failure> {
        Ok(Self { name: convert::name(&request.name)?, settings: parse_settings(request.settings)?, runtime: None })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name)
    }

    fn idempotency_key(request: &CreateClusterRequest) -> &str {
        &request.idempotency_key
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        self.runtime = Some(call.vault.start_cluster(&self.name, &to_settings(&self.settings)?).await?);
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateClusterResponse>, Failure> {
        let runtime = self.runtime.clone().ok_or_else(|| Failure::internal("a cluster was not started"))?;
        let settings = to_settings(&self.settings)?;
        let planned = call.vault.put_cluster(&self.name, &settings, Arc::clone(&runtime), None)?;
        let answer = |row| cluster(&call.vault, self.name.as_str(), &row, Some(&*runtime));
        Ok(planned.map(|row| CreateClusterResponse { cluster: Some(answer(row)) }))
    }
}

struct Update {
    name: Name,
    settings: WireSettings,
    runtime: Option<Arc<ClusterRuntime>>,
    etag: String,
}

#[async_trait]
impl Operation for Update {
    type Request = UpdateClusterRequest;
    type Response = UpdateClusterResponse;
    const RPC: Rpc = rpc::UPDATE_CLUSTER;
    const CHANGES_VAULT: bool = true;

    fn parse(request: UpdateClusterRequest) -> Result<Self, Failure> {
        let settings = parse_settings(request.settings)?;
        Ok(Self { name: convert::name(&request.name)?, settings, runtime: None, etag: request.etag })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        self.runtime = Some(call.vault.start_cluster(&self.name, &to_settings(&self.settings)?).await?);
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<UpdateClusterResponse>, Failure> {
        let runtime = self.runtime.clone().ok_or_else(|| Failure::internal("a cluster was not started"))?;
        let settings = to_settings(&self.settings)?;
        let planned = call.vault.put_cluster(&self.name, &settings, Arc::clone(&runtime), Some(&self.etag))?;
        let answer = |row| cluster(&call.vault, self.name.as_str(), &row, Some(&*runtime));
        Ok(planned.map(|row| UpdateClusterResponse { cluster: Some(answer(row)) }))
    }
}

struct Get(Name);

#[async_trait]
impl Operation for Get {
    type Request = GetClusterRequest;
    type Response = GetClusterResponse;
    const RPC: Rpc = rpc::GET_CLUSTER;

    fn parse(request: GetClusterRequest) -> Result<Self, Failure> {
        convert::name(&request.name).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetClusterResponse>, Failure> {
        let row = call.vault.cluster(&self.0)?;
        let runtime = call.vault.runtime(row.value.id);
        let found = cluster(&call.vault, self.0.as_str(), &row, runtime.as_deref());
        Ok(Planned::read(GetClusterResponse { cluster: Some(found) }))
    }
}

struct List(Page);

#[async_trait]
impl Operation for List {
    type Request = ListClustersRequest;
    type Response = ListClustersResponse;
    const RPC: Rpc = rpc::LIST_CLUSTERS;

    fn parse(request: ListClustersRequest) -> Result<Self, Failure> {
        Page::parse(request.page_size, request.page_token).map(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListClustersResponse>, Failure> {
        const LIST: &str = "clusters";
        let after = self.0.after(&call.vault, LIST)?;
        let (rows, more) = call.vault.clusters(&after, self.0.size());
        let last = rows.last().map(|(name, _)| name.as_str());
        let next_page_token = Page::next(&call.vault, LIST, last, more)?;
        let clusters =
            rows.iter().map(|(name, row)| cluster(&call.vault, name, row, call.vault.runtime(row.value.id).as_deref()));
        let clusters = clusters.collect();
        Ok(Planned::read(ListClustersResponse { clusters, next_page_token }))
    }
}

struct Delete {
    name: Name,
    etag: String,
}

#[async_trait]
impl Operation for Delete {
    type Request = DeleteClusterRequest;
    type Response = DeleteClusterResponse;
    const RPC: Rpc = rpc::DELETE_CLUSTER;
    const CHANGES_VAULT: bool = true;

    fn parse(request: DeleteClusterRequest) -> Result<Self, Failure> {
        Ok(Self { name: convert::name(&request.name)?, etag: request.etag })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteClusterResponse>, Failure> {
        Ok(call.vault.delete_cluster(&self.name, &self.etag).await?.map(|()| DeleteClusterResponse {}))
    }
}

struct ConfirmPodLoss(Name);

#[async_trait]
impl Operation for ConfirmPodLoss {
    type Request = ConfirmPodLossRequest;
    type Response = ConfirmPodLossResponse;
    const RPC: Rpc = rpc::CONFIRM_POD_LOSS;

    fn parse(request: ConfirmPodLossRequest) -> Result<Self, Failure> {
        convert::name(&request.name).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ConfirmPodLossResponse>, Failure> {
        let pods = call.vault.confirm_pod_loss(&self.0)?;
        call.record.detail("pods", pods);
        Ok(Planned::read(ConfirmPodLossResponse { pods: u32::try_from(pods).unwrap_or(u32::MAX) }))
    }
}
