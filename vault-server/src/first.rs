//! A vault that makes itself at the server's first start: what it begins with, as the configuration has it.

use anyhow::{Context, anyhow};
use coffer_vault::{ApiServerRecord, Beginning, ClusterSettings, Failure, KeySourceRecord, NewOperator, PodCheck, parse_pins};

use crate::{
    config::{Init, InitCluster, InitOperator},
    files,
};

/// Where a pod has the token of its service account.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// What the vault begins with. `issuer` is asked where the cluster's is not said.
pub(crate) fn beginning(init: &Init, issuer: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<Beginning> {
    let operators = init.operators.iter().map(operator).collect::<anyhow::Result<_>>()?;
    let service_account = init.service_account.clone();
    let Some(InitCluster { name, issuer: said, audience, node_agent }) = &init.cluster else {
        let beginning = Beginning { operators, cluster: None, service_account };
        beginning.check().map_err(told)?;
        return Ok(beginning);
    };
    let settings = ClusterSettings {
        issuer: said.clone().map_or_else(issuer, Ok)?,
        audience: audience.clone(),
        keys: KeySourceRecord::ApiServer,
        api_server: Some(ApiServerRecord { url: String::new(), ca_pem: String::new(), token_file: String::new() }),
        pod_check: PodCheck::Cache,
        node_agent: node_agent.clone().unwrap_or_default(),
    };
    let name = name.parse().map_err(|error| anyhow!("init.cluster.name: {error}"))?;
    let beginning = Beginning { operators, cluster: Some((name, settings)), service_account };
    beginning.check().map_err(told)?;
    Ok(beginning)
}

fn told(failure: Failure) -> anyhow::Error {
    anyhow!("init: {}", failure.message)
}

fn operator(InitOperator { name, roles, pins }: &InitOperator) -> anyhow::Result<NewOperator> {
    let at = || format!("init.operators, {name}");
    Ok(NewOperator {
        name: name.parse().map_err(|error| anyhow!("{}: {error}", at()))?,
        roles: roles
            .iter()
            .map(|role| role.parse().map_err(|error| anyhow!("{}: {role}: {error}", at())))
            .collect::<Result<_, _>>()?,
        password: None,
        certificate_pins: parse_pins(pins.clone()).map_err(told).with_context(at)?,
    })
}

/// The issuer of the cluster that this runs in: who made the token of this pod's service account.
pub(crate) fn issuer_here() -> anyhow::Result<String> {
    let token = files::read_at_most(files::PEM_BYTES_MAX, TOKEN_FILE.as_ref())
        .context("init.cluster.issuer is not said, and this is no pod")?;
    coffer_crypto::jwt::issuer_unverified(token.trim())
        .with_context(|| format!("{TOKEN_FILE} names no issuer: say init.cluster.issuer"))
}
