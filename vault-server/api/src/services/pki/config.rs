//! What holds for a whole mount.

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{GetPkiConfigRequest, GetPkiConfigResponse, PkiConfig as Wire, PutPkiConfigRequest, PutPkiConfigResponse};
use coffer_vault::{Failure, Planned, certificates::Config};

use super::place::whole;
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
    services::convert,
};

const KIND: &str = "config";

fn wire(config: Config) -> Wire {
    Wire { default_issuer: config.default_issuer.map(|name| name.to_string()).unwrap_or_default(), url: config.url }
}

pub(super) struct Get(Path);

#[async_trait]
impl Operation for Get {
    type Request = GetPkiConfigRequest;
    type Response = GetPkiConfigResponse;
    const RPC: Rpc = rpc::GET_PKI_CONFIG;

    fn parse(request: GetPkiConfigRequest) -> Result<Self, Failure> {
        whole(&request.path, KIND).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetPkiConfigResponse>, Failure> {
        Ok(Planned::read(GetPkiConfigResponse { config: Some(wire(call.vault.pki_config(&self.0).await?)) }))
    }
}

pub(super) struct Put {
    path: Path,
    config: Config,
}

#[async_trait]
impl Operation for Put {
    type Request = PutPkiConfigRequest;
    type Response = PutPkiConfigResponse;
    const RPC: Rpc = rpc::PUT_PKI_CONFIG;

    fn parse(request: PutPkiConfigRequest) -> Result<Self, Failure> {
        let path = whole(&request.path, KIND)?;
        let config = request.config.ok_or(Failure::invalid("there is no configuration in the request"))?;
        let default_issuer = if config.default_issuer.is_empty() { None } else { Some(convert::name(&config.default_issuer)?) };
        Ok(Self { path, config: Config { default_issuer, url: config.url } })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<PutPkiConfigResponse>, Failure> {
        let planned = call.vault.put_pki_config(&self.path, self.config.clone()).await?;
        Ok(planned.map(|config| PutPkiConfigResponse { config: Some(wire(config)) }))
    }
}
