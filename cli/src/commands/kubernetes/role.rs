//! `coffer kubernetes role`.

use std::time::Duration;

use clap::{Args, Subcommand};
use coffer_client::proto::{
    CheckKubernetesRoleRequest, DeleteKubernetesRoleRequest, GetKubernetesRoleRequest, GetKubernetesRoleResponse, KubernetesRole,
    KubernetesRule, ListKubernetesRolesRequest, PutKubernetesRoleRequest,
};
use serde::Serialize;

use crate::{
    app::{App, Vault, answer},
    args::parse_ttl,
    commands::show_names,
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::Result,
    output::{age, pairs, rfc3339},
};

/// Manage whose tokens are made
#[derive(Subcommand)]
pub(crate) enum Role {
    Put(Put),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Check(Check),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Role {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Put(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Check(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Which mount is meant.
#[derive(Args)]
struct InMount {
    /// The mount
    #[arg(long, value_name = "NAME", default_value = "kubernetes", add = crate::complete::mounts())]
    mount: String,
}

impl InMount {
    fn role(&self, name: &str) -> String {
        format!("{}/roles/{name}", self.mount)
    }
}

/// Make or change a role
///
/// Tokens are those of a service account that is there, or of one that is made for each token and removed with it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer kubernetes role put deploy --cluster prod --namespace shop --service-account deployer
  coffer kubernetes role put view --cluster prod --namespace shop --cluster-role view --ttl 15m
  coffer kubernetes role put pods --cluster prod --namespace shop --rule get,list:pods --rule get,patch:apps/deployments

Then: coffer kubernetes role check deploy; coffer grant read kubernetes/creds/deploy --to k8s:prod/ci/runner")]
pub(crate) struct Put {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    /// The registered cluster
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// The namespace
    #[arg(long, value_name = "NAME")]
    namespace: String,
    #[command(flatten)]
    whose: Whose,
    /// Whom tokens are for; again for more [default: the API server]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audiences: Vec<String>,
    /// How long a token lasts where nothing else is asked
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// How long a token lasts at most
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_ttl)]
    max_ttl: Duration,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Whose tokens are made.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// A service account that is there
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// A service account that is made, with this Role of the namespace
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// A service account that is made, with this ClusterRole in the namespace
    #[arg(long, value_name = "NAME")]
    cluster_role: Option<String>,
    /// A service account that is made, with this rule: verbs and a resource, get,list:pods or get:apps/deployments; again for more
    #[arg(long = "rule", value_name = "VERBS:[GROUP/]RESOURCE", value_parser = parse_rule)]
    rules: Vec<KubernetesRule>,
}

/// Reads `VERBS:[GROUP/]RESOURCE`. Before a part of a resource without a group stands a slash: `get:/pods/log`.
fn parse_rule(text: &str) -> std::result::Result<KubernetesRule, &'static str> {
    const WRONG: &str = "write VERBS:RESOURCE or VERBS:GROUP/RESOURCE, as in get,list:pods or get:apps/deployments; /pods/log for a part of a resource without a group";
    let (verbs, resource) = text.split_once(':').ok_or(WRONG)?;
    let verbs: Vec<String> = verbs.split(',').map(str::to_owned).collect();
    let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
    if resource.is_empty() || verbs.iter().any(String::is_empty) {
        return Err(WRONG);
    }
    Ok(KubernetesRule {
        api_groups: vec![group.to_owned()],
        resources: vec![resource.to_owned()],
        verbs,
        resource_names: Vec::new(),
    })
}

/// A rule as it is written.
fn rule_text(rule: &KubernetesRule) -> String {
    let resources = rule.resources.iter().flat_map(|resource| {
        let named = move |group: &String| if group.is_empty() { resource.clone() } else { format!("{group}/{resource}") };
        rule.api_groups.iter().map(named)
    });
    let text = format!("{}:{}", rule.verbs.join(","), resources.collect::<Vec<_>>().join(" "));
    if rule.resource_names.is_empty() { text } else { format!("{text} ({})", rule.resource_names.join(", ")) }
}

impl Put {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let role = KubernetesRole {
            cluster: self.cluster,
            namespace: self.namespace,
            service_account: self.whose.service_account.unwrap_or_default(),
            rules: self.whose.rules,
            role: self.whose.role.unwrap_or_default(),
            cluster_role: self.whose.cluster_role.unwrap_or_default(),
            audiences: self.audiences,
            default_ttl_seconds: self.ttl.as_secs(),
            max_ttl_seconds: self.max_ttl.as_secs(),
        };
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("write the role {path}"), "KubernetesService/PutKubernetesRole");
            planned.say("path", &path);
            planned.say("cluster", &role.cluster);
            planned.say("namespace", &role.namespace);
            planned.say("whose", whose(&role));
            planned.checked("nothing was asked of the API server: coffer kubernetes role check tries a role that is written");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("write the role {path}")).at("write", &path);
        let request = PutKubernetesRoleRequest { path: path.clone(), role: Some(role) };
        answer(&attempt, vault.client.kubernetes().put_kubernetes_role(request).await)?;
        app.out.result(&serde_json::json!({ "path": path }), |_| {
            format!("role {path} written; next: coffer kubernetes role check {}", self.name)
        })?;
        Ok(Exit::Done)
    }
}

/// Whose tokens are made, in words.
fn whose(role: &KubernetesRole) -> String {
    match (role.service_account.as_str(), role.role.as_str(), role.cluster_role.as_str()) {
        ("", "", "") => {
            format!("one that is made, which may {}", role.rules.iter().map(rule_text).collect::<Vec<_>>().join("; "))
        }
        ("", "", name) => format!("one that is made, with the ClusterRole {name}"),
        ("", name, _) => format!("one that is made, with the Role {name}"),
        (name, ..) => name.to_owned(),
    }
}

async fn get(vault: &Vault, path: &str) -> Result<GetKubernetesRoleResponse> {
    let attempt = vault.attempt(format!("show the role {path}")).at("list", path);
    let request = GetKubernetesRoleRequest { path: path.to_owned() };
    Ok(answer(&attempt, vault.client.kubernetes().get_kubernetes_role(request).await)?.into_inner())
}

/// Show a role
#[derive(Args)]
pub(crate) struct Get {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
}

#[derive(Serialize)]
struct RoleJson<'a> {
    path: &'a str,
    cluster: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    service_account: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    role: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster_role: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleJson<'a>>,
    audiences: &'a [String],
    ttl_seconds: u64,
    max_ttl_seconds: u64,
    updated: Option<String>,
}

#[derive(Serialize)]
struct RuleJson<'a> {
    api_groups: &'a [String],
    resources: &'a [String],
    verbs: &'a [String],
    resource_names: &'a [String],
}

impl<'a> From<&'a KubernetesRule> for RuleJson<'a> {
    fn from(rule: &'a KubernetesRule) -> Self {
        Self {
            api_groups: &rule.api_groups,
            resources: &rule.resources,
            verbs: &rule.verbs,
            resource_names: &rule.resource_names,
        }
    }
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let found = get(&app.vault()?, &path).await?;
        let role = found.role.unwrap_or_default();
        let json = RoleJson {
            path: &path,
            cluster: &role.cluster,
            namespace: &role.namespace,
            service_account: &role.service_account,
            role: &role.role,
            cluster_role: &role.cluster_role,
            rules: role.rules.iter().map(RuleJson::from).collect(),
            audiences: &role.audiences,
            ttl_seconds: role.default_ttl_seconds,
            max_ttl_seconds: role.max_ttl_seconds,
            updated: rfc3339(found.updated.as_ref()),
        };
        app.out.result(&json, |_| {
            let cluster = if role.cluster.is_empty() { "one that is not registered any more" } else { &role.cluster };
            let audiences = if role.audiences.is_empty() { "the API server".to_owned() } else { role.audiences.join(", ") };
            pairs(&[
                ("Path", path.clone()),
                ("Cluster", cluster.to_owned()),
                ("Namespace", role.namespace.clone()),
                ("Account", whose(&role)),
                ("For", audiences),
                ("Lasts", format!("{}, {} at most", age(role.default_ttl_seconds), age(role.max_ttl_seconds))),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// List roles
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    mount: InMount,
}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = format!("{}/roles", self.mount.mount);
        let vault = app.vault()?;
        let attempt = vault.attempt("list roles").at("list", &path);
        let request = ListKubernetesRolesRequest { path };
        let names = answer(&attempt, vault.client.kubernetes().list_kubernetes_roles(request).await)?.into_inner().names;
        show_names(app, &names, "No roles.")?;
        Ok(Exit::Done)
    }
}

/// Try a role: make a token, and end it
#[derive(Args)]
pub(crate) struct Check {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
}

impl Check {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let vault = app.vault()?;
        let attempt = vault.attempt(format!("try the role {path}")).at("write", &path);
        let request = CheckKubernetesRoleRequest { path: path.clone() };
        answer(&attempt, vault.client.kubernetes().check_kubernetes_role(request).await)?;
        app.out.result(&serde_json::json!({ "checked": path }), |_| format!("role {path} works: a token was made, and ended"))?;
        Ok(Exit::Done)
    }
}

/// Delete a role; tokens that were made with it stay until they end
#[derive(Args)]
pub(crate) struct Delete {
    /// The role's name
    name: String,
    #[command(flatten)]
    mount: InMount,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let path = self.mount.role(&self.name);
        let vault = app.vault()?;
        if self.dry_run.asked() {
            get(&vault, &path).await?;
            let mut planned = Planned::new(format!("delete the role {path}"), "KubernetesService/DeleteKubernetesRole");
            planned.say("path", &path);
            planned.checked("it is there");
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("delete the role {path}")).at("delete", &path);
        let request = DeleteKubernetesRoleRequest { path: path.clone() };
        answer(&attempt, vault.client.kubernetes().delete_kubernetes_role(request).await)?;
        app.out.result(&serde_json::json!({ "deleted": path }), |_| format!("role {path} deleted"))?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_written_as_verbs_and_a_resource() {
        for (text, group, resource, verbs) in [
            ("get,list:pods", "", "pods", &["get", "list"][..]),
            ("patch:apps/deployments", "apps", "deployments", &["patch"]),
            ("get:/pods/log", "", "pods/log", &["get"]),
            ("get:apps/deployments/scale", "apps", "deployments/scale", &["get"]),
        ] {
            let rule = parse_rule(text).unwrap();
            assert_eq!((rule.api_groups[0].as_str(), rule.resources[0].as_str()), (group, resource), "{text}");
            assert_eq!(rule.verbs, verbs, "{text}");
        }
        for wrong in ["", "pods", "get:", ":pods", "get,:pods", "get:apps/"] {
            assert!(parse_rule(wrong).is_err(), "{wrong}");
        }
        assert_eq!(rule_text(&parse_rule("get,list:apps/deployments").unwrap()), "get,list:apps/deployments");
    }
}
