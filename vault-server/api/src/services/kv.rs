//! `KvService`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    DeleteVersionsRequest, DeleteVersionsResponse, DestroySecretRequest, DestroySecretResponse, DestroyVersionsRequest,
    DestroyVersionsResponse, GetSecretMetadataRequest, GetSecretMetadataResponse, GetSecretRequest, GetSecretResponse,
    ListSecretsRequest, ListSecretsResponse, PutSecretMetadataRequest, PutSecretMetadataResponse, PutSecretRequest,
    PutSecretResponse, RollbackSecretRequest, RollbackSecretResponse, SecretEntry, SecretMetadata, UndeleteVersionsRequest,
    UndeleteVersionsResponse, VersionInfo as WireVersion, VersionState as WireState, kv_service_server::KvService,
};
use coffer_secret::SecretBytes;
use coffer_vault::{
    Failure, Planned,
    kv::{Fields, Metadata, PutRequest, RollbackRequest, Settings, SettingsChange, VersionInfo, VersionState},
};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { KvService:
    get_secret(GetSecretRequest) -> GetSecretResponse = Get;
    put_secret(PutSecretRequest) -> PutSecretResponse = Put;
    rollback_secret(RollbackSecretRequest) -> RollbackSecretResponse = Rollback;
    list_secrets(ListSecretsRequest) -> ListSecretsResponse = List;
    get_secret_metadata(GetSecretMetadataRequest) -> GetSecretMetadataResponse = GetMetadata;
    put_secret_metadata(PutSecretMetadataRequest) -> PutSecretMetadataResponse = PutMetadata;
    delete_versions(DeleteVersionsRequest) -> DeleteVersionsResponse = Delete;
    undelete_versions(UndeleteVersionsRequest) -> UndeleteVersionsResponse = Undelete;
    destroy_versions(DestroyVersionsRequest) -> DestroyVersionsResponse = DestroyVersions;
    destroy_secret(DestroySecretRequest) -> DestroySecretResponse = Destroy;
}

fn version(info: &VersionInfo) -> WireVersion {
    let state = match info.state {
        VersionState::Live => WireState::Live,
        VersionState::Deleted => WireState::Deleted,
        VersionState::Expired => WireState::Expired,
        VersionState::Destroyed => WireState::Destroyed,
    };
    WireVersion {
        version: info.version,
        created: convert::time(info.created),
        created_by: info.created_by.clone(),
        state: state.into(),
        expires: info.expires.and_then(convert::time),
    }
}

fn metadata(metadata: Metadata) -> SecretMetadata {
    SecretMetadata {
        newest_version: metadata.newest_version,
        versions: metadata.versions.iter().map(version).collect(),
        custom_metadata: metadata.settings.custom_metadata.into_iter().collect(),
        max_versions: metadata.settings.max_versions,
        cas_required: metadata.settings.cas_required,
        created: convert::time(metadata.created),
        etag: metadata.etag,
    }
}

fn versions_in_words(versions: &[u64]) -> BTreeMap<String, String> {
    let words: Vec<_> = versions.iter().map(u64::to_string).collect();
    BTreeMap::from([("versions".to_owned(), if words.is_empty() { "newest".to_owned() } else { words.join(",") })])
}

struct Get {
    path: Path,
    version: Option<u64>,
}

#[async_trait]
impl Operation for Get {
    type Request = GetSecretRequest;
    type Response = GetSecretResponse;
    const RPC: Rpc = rpc::GET_SECRET;

    fn parse(request: GetSecretRequest) -> Result<Self, Failure> {
        Ok(Self { path: request.path.parse()?, version: (request.version != 0).then_some(request.version) })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetSecretResponse>, Failure> {
        let secret = call.vault.get_secret(&self.path, self.version, &mut call.record).await?;
        let fields = secret.fields.iter().map(|(name, value)| (name.clone(), value.expose().to_vec()));
        Ok(Planned::read(GetSecretResponse {
            fields: fields.collect(),
            version: Some(version(&secret.version)),
            custom_metadata: secret.custom_metadata.into_iter().collect(),
            receipt: 0,
        }))
    }

    fn receipt(response: &mut GetSecretResponse, index: u64) {
        response.receipt = index;
    }
}

struct Put {
    path: Path,
    fields: Fields,
    expected: Option<u64>,
    merge: bool,
    ttl_secs: Option<u64>,
}

#[async_trait]
impl Operation for Put {
    type Request = PutSecretRequest;
    type Response = PutSecretResponse;
    const RPC: Rpc = rpc::PUT_SECRET;

    fn parse(request: PutSecretRequest) -> Result<Self, Failure> {
        let fields = request.fields.into_iter().map(|(name, value)| (name, SecretBytes::from(value))).collect();
        Ok(Self {
            path: request.path.parse()?,
            fields,
            expected: request.expected_version,
            merge: request.merge,
            ttl_secs: (request.ttl_seconds != 0).then_some(request.ttl_seconds),
        })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn idempotency_key(request: &PutSecretRequest) -> &str {
        &request.idempotency_key
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutSecretResponse>, Failure> {
        let put = PutRequest {
            fields: self.fields.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect(),
            expected: self.expected,
            merge: self.merge,
            ttl_secs: self.ttl_secs,
        };
        let planned = call.vault.put_secret(&call.who, &self.path, put, &mut call.record).await?;
        Ok(planned.map(|info| PutSecretResponse { version: Some(version(&info)) }))
    }
}

struct Rollback {
    path: Path,
    rollback: RollbackRequest,
}

#[async_trait]
impl Operation for Rollback {
    type Request = RollbackSecretRequest;
    type Response = RollbackSecretResponse;
    const RPC: Rpc = rpc::ROLLBACK_SECRET;

    fn parse(request: RollbackSecretRequest) -> Result<Self, Failure> {
        let rollback = RollbackRequest {
            version: request.version,
            expected: request.expected_version,
            ttl_secs: (request.ttl_seconds != 0).then_some(request.ttl_seconds),
        };
        Ok(Self { path: request.path.parse()?, rollback })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn idempotency_key(request: &RollbackSecretRequest) -> &str {
        &request.idempotency_key
    }

    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("from_version".to_owned(), self.rollback.version.to_string())])
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RollbackSecretResponse>, Failure> {
        let planned = call.vault.rollback_secret(&call.who, &self.path, self.rollback, &mut call.record).await?;
        Ok(planned.map(|info| RollbackSecretResponse { version: Some(version(&info)) }))
    }
}

struct List {
    path: Path,
    page: Page,
}

#[async_trait]
impl Operation for List {
    type Request = ListSecretsRequest;
    type Response = ListSecretsResponse;
    const RPC: Rpc = rpc::LIST_SECRETS;

    fn parse(request: ListSecretsRequest) -> Result<Self, Failure> {
        Ok(Self { path: request.path.parse()?, page: Page::parse(request.page_size, request.page_token)? })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListSecretsResponse>, Failure> {
        let list = format!("secrets {}", self.path);
        let after = self.page.after(&call.vault, &list)?;
        let after = (!after.is_empty()).then_some(after.as_str());
        let page = call.vault.list_secrets(&self.path, after, self.page.size()).await?;
        let last = page.names.last().map(|name| name.name.as_str());
        let next_page_token = Page::next(&call.vault, &list, last, page.more)?;
        let entries = page.names.into_iter();
        let entries = entries.map(|name| SecretEntry { name: name.name, secret: name.secret, folder: name.folder });
        Ok(Planned::read(ListSecretsResponse { entries: entries.collect(), next_page_token }))
    }
}

struct GetMetadata(Path);

#[async_trait]
impl Operation for GetMetadata {
    type Request = GetSecretMetadataRequest;
    type Response = GetSecretMetadataResponse;
    const RPC: Rpc = rpc::GET_SECRET_METADATA;

    fn parse(request: GetSecretMetadataRequest) -> Result<Self, Failure> {
        Ok(Self(request.path.parse()?))
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetSecretMetadataResponse>, Failure> {
        let found = call.vault.secret_metadata(&self.0).await?;
        Ok(Planned::read(GetSecretMetadataResponse { metadata: Some(metadata(found)) }))
    }
}

struct PutMetadata {
    path: Path,
    change: SettingsChange,
}

#[async_trait]
impl Operation for PutMetadata {
    type Request = PutSecretMetadataRequest;
    type Response = PutSecretMetadataResponse;
    const RPC: Rpc = rpc::PUT_SECRET_METADATA;

    fn parse(request: PutSecretMetadataRequest) -> Result<Self, Failure> {
        let settings = Settings {
            custom_metadata: request.custom_metadata.into_iter().collect(),
            max_versions: request.max_versions,
            cas_required: request.cas_required,
        };
        let etag = (!request.etag.is_empty()).then_some(request.etag);
        Ok(Self { path: request.path.parse()?, change: SettingsChange { settings, etag } })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutSecretMetadataResponse>, Failure> {
        let planned = call.vault.put_secret_metadata(&self.path, self.change.clone()).await?;
        Ok(planned.map(|changed| PutSecretMetadataResponse { metadata: Some(metadata(changed)) }))
    }
}

/// The RPCs that change versions of a secret, which are alike.
macro_rules! of_versions {
    ($operation:ident: $request:ident -> $response:ident, $rpc:ident, $method:ident) => {
        struct $operation {
            path: Path,
            versions: Vec<u64>,
        }

        #[async_trait]
        impl Operation for $operation {
            type Request = $request;
            type Response = $response;
            const RPC: Rpc = rpc::$rpc;

            fn parse(request: $request) -> Result<Self, Failure> {
                Ok(Self { path: request.path.parse()?, versions: request.versions })
            }

            fn path(&self) -> Option<&Path> {
                Some(&self.path)
            }

            fn details(&self) -> BTreeMap<String, String> {
                versions_in_words(&self.versions)
            }

            async fn run(&self, call: &mut Call) -> Result<Planned<$response>, Failure> {
                Ok(call.vault.$method(&self.path, &self.versions).await?.map(|()| $response {}))
            }
        }
    };
}

of_versions! { Delete: DeleteVersionsRequest -> DeleteVersionsResponse, DELETE_VERSIONS, delete_versions }
of_versions! { Undelete: UndeleteVersionsRequest -> UndeleteVersionsResponse, UNDELETE_VERSIONS, undelete_versions }
of_versions! { DestroyVersions: DestroyVersionsRequest -> DestroyVersionsResponse, DESTROY_VERSIONS, destroy_versions }

struct Destroy {
    path: Path,
    etag: Option<String>,
}

#[async_trait]
impl Operation for Destroy {
    type Request = DestroySecretRequest;
    type Response = DestroySecretResponse;
    const RPC: Rpc = rpc::DESTROY_SECRET;

    fn parse(request: DestroySecretRequest) -> Result<Self, Failure> {
        let etag = (!request.etag.is_empty()).then_some(request.etag);
        Ok(Self { path: request.path.parse()?, etag })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DestroySecretResponse>, Failure> {
        Ok(call.vault.destroy_secret(&self.path, self.etag.as_deref()).await?.map(|()| DestroySecretResponse {}))
    }
}
