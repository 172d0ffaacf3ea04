//! What a pod asks for, as the agent's configuration.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Refusal,
    annotations::{FileRequest, Notify, Request, SourceRequest},
    injection::{CA_FOLDER, Settings, TEMPLATES_FOLDER, TOKEN_FOLDER},
};

#[derive(Serialize)]
struct Config<'a> {
    log_level: &'a str,
    vault: Vault<'a>,
    output: Output<'a>,
    secrets: Vec<Secret<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<Told<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sidecar: Option<Sidecar>,
}

#[derive(Serialize)]
struct Sidecar {
    revoke_on_exit: bool,
}

#[derive(Serialize)]
struct Vault<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    ca_file: String,
    token_file: String,
}

#[derive(Serialize)]
struct Output<'a> {
    directory: &'a str,
    mode: &'a str,
}

#[derive(Serialize, Default)]
struct Secret<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a str>,
    on_start: bool,
}

/// The configuration, for files in this folder with this mode. Fails where the agent would not take it.
pub(crate) fn write(request: &Request, settings: &Settings, folder: &str, mode: &str) -> Result<String, Refusal> {
    let config = |is_tried| Config {
        log_level: request.log_level.as_deref().unwrap_or(&settings.log_level),
        vault: Vault {
            address: request.vault_address.as_deref().unwrap_or(&settings.vault_address),
            server_name: request.vault_server_name.as_deref().or(settings.vault_server_name.as_deref()),
            tenant: request.tenant.as_deref().or(settings.tenant.as_deref()),
            cluster: request.cluster.as_deref().or(settings.cluster.as_deref()),
            ca_file: format!("{CA_FOLDER}/ca.pem"),
            token_file: format!("{TOKEN_FOLDER}/token"),
        },
        output: Output { directory: folder, mode },
        secrets: request.files.iter().map(|(name, file)| secret(name, file, is_tried)).collect(),
        notify: request.notify.as_ref().map(|notify| told(notify, request.notify_on_start)),
        sidecar: request.revoke_on_exit.then_some(Sidecar { revoke_on_exit: true }),
    };
    let text = |config| toml::to_string(&config).map_err(|error| Refusal::new(format!("the agent's configuration: {error}")));
    coffer_agent::reading::config(&text(config(true))?).map_err(|why| Refusal::new(without_place(&why)))?;
    text(config(false))
}

/// What the agent says, without the line of a file that nobody wrote.
fn without_place(why: &str) -> String {
    why.split_once(": ").filter(|(place, _)| place.contains(".toml")).map_or(why, |(_, what)| what).to_owned()
}

/// A file; to be tried here, without the templates that only the pod has.
fn secret<'a>(name: &'a str, file: &'a FileRequest, is_tried: bool) -> Secret<'a> {
    let mut secret = Secret {
        name: file.file.as_deref().unwrap_or(name),
        version: file.version,
        ttl: file.ttl.as_deref(),
        format: file.format.as_deref(),
        field: file.field.as_deref(),
        mode: file.mode.as_deref(),
        template: file.template.as_deref().or_else(|| (is_tried && file.has_template()).then_some("")),
        template_file: file.template_config_map.as_ref().filter(|_| !is_tried).map(|_| format!("{TEMPLATES_FOLDER}/{name}")),
        parameters: file.parameters.as_ref(),
        ..Secret::default()
    };
    // A field behind the path, where there is no other word on the form.
    let shortened = |path: &'a str| match path.rsplit_once('#') {
        Some((path, field)) if file.field.is_none() && file.format.is_none() && !file.has_template() => (path, Some(field)),
        _ => (path, None),
    };
    match &file.secrets {
        Some(SourceRequest::One(path)) => {
            let (path, field) = shortened(path);
            (secret.path, secret.field) = (Some(path), secret.field.or(field));
        }
        Some(SourceRequest::Many(paths)) => secret.paths = Some(paths),
        None => {}
    }
    match &file.credentials {
        Some(SourceRequest::One(path)) => {
            let (path, field) = shortened(path);
            (secret.credential, secret.field) = (Some(path), secret.field.or(field));
        }
        Some(SourceRequest::Many(paths)) => secret.credentials = Some(paths),
        None => {}
    }
    secret
}

fn told(notify: &Notify, on_start: bool) -> Told<'_> {
    match notify {
        Notify::Http(http) => Told { http: Some(http), signal: None, process: None, on_start },
        Notify::Signal { signal, process } => Told { http: None, signal: Some(signal), process: Some(process), on_start },
    }
}
